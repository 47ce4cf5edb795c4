"""The pocket chat model."""

from pathlib import Path
from typing import Annotated

from figment.ops import tracking
from figment.ops.steps import step
from pocket.chat import train_chat as train
from pocket.config import StageConfig, WorldConfig


@step(experiment_tracker=True)
def train_chat(banks: str, world: WorldConfig, stage: StageConfig) -> Annotated[str, "chat"]:
    folder = Path(banks) / "chat"
    report = lambda s, n, m: tracking.log_metrics(s, m, n)  # noqa: E731
    model, tokenizer = train(world.objects, folder, **stage.model_dump(), report=report)
    model.half().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return (folder / "model").as_posix()
