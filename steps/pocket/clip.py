"""The pocket CLIP."""

from pathlib import Path
from typing import Annotated

from figment.ops import tracking
from figment.ops.steps import step
from pocket.banks import split
from pocket.clip import save_clip
from pocket.clip import train_clip as train
from pocket.config import StageConfig, WorldConfig
from pocket.tokenizer import build_world_tokenizer
from pocket.world import Scenes


@step(experiment_tracker=True)
def train_clip(banks: str, world: WorldConfig, stage: StageConfig) -> Annotated[str, "clip"]:
    folder = Path(banks) / "clip"
    tokenizer = build_world_tokenizer(world.objects, folder / "tokenizer")
    training, _ = split(Scenes.load(Path(banks) / "wide.safetensors"))
    report = lambda s, n, m: tracking.log_metrics(s, m, n)  # noqa: E731
    model = train(tokenizer, training, folder, **stage.model_dump(), report=report)
    save_clip(model, tokenizer, folder / "model")
    return (folder / "model").as_posix()
