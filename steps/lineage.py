"""The last steps: the run's folder becomes DVC's, and what made what is written down where each system, and a person, will look
for it."""

from pathlib import Path
from typing import Annotated

from figment.manifests import FileRef
from figment.ops import lineage, versioning
from figment.ops.steps import step
from figment.ops.versioning import Versioned
from figment.ops.versioning_config import VersioningConfig


@step
def version_dataset(output: str, config: VersioningConfig) -> Annotated[Versioned, "dataset"]:
    """``output``/config.yaml, and dataset.dvc, the pointer to all that the run made."""
    lineage.write_config(Path(output))
    return versioning.version(Path(output), config)


@step(experiment_tracker=True)
def record_lineage(output: str, dataset: Versioned) -> Annotated[FileRef, "lineage"]:
    """``output``/lineage.json; tags of the MLflow run, metadata of the ZenML run."""
    lineage.record(Path(output), dataset)
    return FileRef.of(Path(output) / lineage.LINEAGE)
