"""The pocket models: the embedded default generator, CLIP and chat model, trained here from open artwork.

Draw a world; train a judge that measures and nothing else; the autoencoder first, behind a gate; then CLIP, the diffusion
model, the chat model; measure; ship. Killed at any point, the same command goes on from the checkpoints.

    zenml pipeline run pipelines.pocket.pocket -c configs/pocket/pocket.yaml
"""

from figment.ops.pipelines import figment_pipeline
from pocket.config import MeasureConfig, StageConfig, WorldConfig
from steps.pocket.autoencoder import train_autoencoder
from steps.pocket.chat import train_chat
from steps.pocket.clip import train_clip
from steps.pocket.generator import train_generator
from steps.pocket.judging import train_judge
from steps.pocket.measuring import measure_pocket
from steps.pocket.rendering import render_world
from steps.pocket.shipping import ship_pocket


@figment_pipeline
def pocket(
    world: WorldConfig,
    judge: StageConfig,
    autoencoder: StageConfig,
    clip: StageConfig,
    generator: StageConfig,
    chat: StageConfig,
    measure: MeasureConfig,
    work: str,
    output: str,
    ship_to: str,
) -> None:
    banks = render_world(world, work)
    examiner = train_judge(banks, judge)
    vae = train_autoencoder(banks, examiner, world, autoencoder)
    clip_model = train_clip(banks, world, clip)
    generator_model = train_generator(banks, vae, world, generator)
    chat_model = train_chat(banks, world, chat)
    measures = measure_pocket(examiner, clip_model, generator_model, world, measure, output)
    ship_pocket(generator_model, clip_model, chat_model, examiner, measures, ship_to)
