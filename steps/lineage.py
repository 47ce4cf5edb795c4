"""The last step: what made what is written down where each system, and a person, will look for it."""

from pathlib import Path
from typing import Annotated

from figment.manifests import FileRef
from figment.ops import lineage
from figment.ops.steps import step


@step(experiment_tracker=True)
def record_lineage(output: str) -> Annotated[FileRef, "lineage"]:
    """``output``/lineage.json and config.yaml; tags of the MLflow run, metadata of the ZenML run."""
    lineage.record(Path(output))
    return FileRef.of(Path(output) / lineage.LINEAGE)
