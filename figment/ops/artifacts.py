"""What ZenML's dashboard shows of a step's outputs: a report as a page, a file's place, size and hash, a model as a model."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zenml
from zenml.enums import ArtifactType, VisualizationType
from zenml.io import fileio
from zenml.materializers.pydantic_materializer import PydanticMaterializer
from zenml.metadata.metadata_types import StorageSize
from zenml.types import HTMLString

from figment.manifests import ClassifierRef, Classifiers, FileRef

LARGEST = 50_000_000  # bytes of what is copied to be shown
SHOWN = {
    ".html": VisualizationType.HTML,
    ".png": VisualizationType.IMAGE,
    ".csv": VisualizationType.CSV,
    ".md": VisualizationType.MARKDOWN,
}


class FileMaterializer(PydanticMaterializer):
    """References to files: small, since the bytes stay where they are."""

    ASSOCIATED_TYPES = (FileRef, ClassifierRef, Classifiers)

    def save(self, data: Any) -> None:
        if all(Path(ref.path).suffix == ".safetensors" for ref in _files(data)):
            self.ASSOCIATED_ARTIFACT_TYPE = ArtifactType.MODEL  # type: ignore[misc]
        super().save(data)

    def save_visualizations(self, data: Any) -> dict[str, VisualizationType]:
        found = {}
        for ref in _files(data):
            path = Path(ref.path)
            if path.suffix in SHOWN and path.is_file() and path.stat().st_size <= LARGEST:
                place = f"{self.uri}/{path.name}"
                fileio.copy(str(path), place, overwrite=True)
                found[place] = SHOWN[path.suffix]
        return found or dict(super().save_visualizations(data))

    def extract_metadata(self, data: Any) -> dict[str, Any]:
        found: dict[str, Any] = dict(super().extract_metadata(data))
        if not isinstance(data, FileRef):
            return found | {"images": {item.name: item.images for item in _classifiers(data)}}
        path = Path(data.path)
        size = {"size": StorageSize(path.stat().st_size)} if path.is_file() else {}
        return found | {"path": data.path, "sha256": data.sha256, **size}


def _classifiers(data: ClassifierRef | Classifiers) -> tuple[ClassifierRef, ...]:
    return data.items if isinstance(data, Classifiers) else (data,)


def _files(data: FileRef | ClassifierRef | Classifiers) -> list[FileRef]:
    return [data] if isinstance(data, FileRef) else [item.weights for item in _classifiers(data)]


def note(metadata: Mapping[str, Any], of_run: bool = False) -> None:
    """Say something of the step that runs, or of its run; nowhere else."""
    with contextlib.suppress(RuntimeError):  # called as a function
        run = zenml.get_step_context().pipeline_run
        zenml.log_metadata(dict(metadata), **({"run_id_name_or_prefix": run.id} if of_run else {}))


def step_name() -> str:
    """What the pipeline calls the step that runs; of one called as a function nothing."""
    with contextlib.suppress(RuntimeError):
        return str(zenml.get_step_context().step_run.name)
    return ""


def show_page(name: str, page: str) -> None:
    """A page among the outputs of the step that runs."""
    with contextlib.suppress(RuntimeError):
        zenml.get_step_context()
        zenml.save_artifact(HTMLString(page), name=name)


def note_model(metadata: Mapping[str, Any]) -> None:
    """Say something of the version of ZenML's model that the step's run makes."""
    with contextlib.suppress(RuntimeError):
        if zenml.get_step_context().pipeline_run.config.model:
            zenml.log_metadata(dict(metadata), infer_model=True)
