"""Train the judge: it measures, it trains nobody."""

from pathlib import Path
from typing import Annotated

from safetensors.torch import save_file

from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from pocket.config import StageConfig
from pocket.judge import train_judge as train
from pocket.world import Scenes


@step(experiment_tracker=True)
def train_judge(banks: str, stage: StageConfig) -> Annotated[FileRef, "judge"]:
    folder = Path(banks) / "judge"
    scenes = Scenes.load(Path(banks) / "judge.safetensors")
    model = train(scenes, folder, **stage.model_dump(), report=lambda s, n, m: tracking.log_metrics(s, m, n))
    save_file(model.state_dict(), folder / "judge.safetensors")
    return FileRef.of(folder / "judge.safetensors")
