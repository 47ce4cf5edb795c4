"""The pocket diffusion model, on the gated autoencoder's latents."""

from pathlib import Path
from typing import Annotated

from diffusers import AutoencoderTiny

from figment.ops import tracking
from figment.ops.steps import step
from pocket.config import StageConfig, WorldConfig
from pocket.generator import encode_latents, save_generator
from pocket.generator import train_generator as train
from pocket.tokenizer import build_world_tokenizer
from pocket.world import Scenes


@step(experiment_tracker=True)
def train_generator(
    banks: str, autoencoder: str, world: WorldConfig, stage: StageConfig
) -> Annotated[str, "generator"]:
    folder = Path(banks) / "generator"
    vae = AutoencoderTiny.from_pretrained(autoencoder).eval()
    scenes = Scenes.load(Path(banks) / "calm.safetensors")
    pipeline = train(
        vae,
        build_world_tokenizer(world.objects, folder / "tokenizer"),
        encode_latents(vae, scenes),
        scenes.captions,
        folder,
        **stage.model_dump(),
        report=lambda s, n, m: tracking.log_metrics(s, m, n),
    )
    save_generator(pipeline, world.objects, folder / "model")
    return (folder / "model").as_posix()
