"""The autoencoder, and its gate: nothing is trained on latents that have lost the objects."""

from pathlib import Path
from typing import Annotated

from figment.errors import InputError
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from pocket.autoencoder import train_autoencoder as train
from pocket.banks import split, worlds
from pocket.config import StageConfig, WorldConfig
from pocket.judge import load_judge
from pocket.measure import measure_autoencoder
from pocket.world import Scenes

TOLERANCE = 0.05  # of top-1 between renders and their reconstructions


@step(experiment_tracker=True)
def train_autoencoder(
    banks: str, judge: FileRef, world: WorldConfig, stage: StageConfig
) -> Annotated[str, "autoencoder"]:
    folder = Path(banks) / "autoencoder"
    training, held_out = split(Scenes.load(Path(banks) / "wide.safetensors"))
    report = lambda s, n, m: tracking.log_metrics(s, m, n)  # noqa: E731
    model = train(training, held_out, folder, **stage.model_dump(), report=report).eval()
    gate = measure_autoencoder(model, load_judge(judge.open(), len(world.objects)), worlds(world)["wide"], seed=9)
    for domain, row in gate.items():
        tracking.log_metrics(f"autoencoder/gate/{domain}", row)
        if row["render"] - row["reconstruction"] > TOLERANCE:
            raise InputError(
                f"autoencoder gate: the judge names {row['reconstruction']:.1%} of reconstructed {domain}s, {row['render']:.1%} "
                f"of the renders; within {TOLERANCE:.0%} would be right: train it longer (autoencoder.steps)"
            )
    model.save_pretrained(folder / "model")
    return (folder / "model").as_posix()
