"""MLflow's registry: a version for each set of weights, the latest as challenger, and a champion that had to win."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import sha256_file, write_text
from figment.images import Resize
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.artifacts import note_model
from figment.text import shown
from figment.training.lists import TRAINING_LIST

WEIGHTS, LIST, FOLDER = "weights_sha256", "training_list_sha256", "folder"  # tags of a version
CHALLENGER, CHAMPION = "challenger", "champion"
TOGETHER = 256  # images predicted at a time


def enter(
    name: str,
    weights: FileRef,
    deploy: Callable[[], tuple[nn.Module, Sequence[str], tuple[int, Resize, int | None]]],
    card: Path,
    output: Path,
    tags: Mapping[str, str] | None = None,
) -> str:
    """The version of ``name`` that holds these weights, as challenger: logged now with its card, unless it was before. ``deploy``
    gives the module (images in, scores out), the classes, and how images are prepared (``tracking.register_classifier``).
    ``output``/registered.txt says the version."""
    same = [version.version for version in versions_with(weights.sha256) if version.name == name]
    version = str(same[0] if same else tracking.register_classifier(*deploy(), name, card))
    folder = Path(weights.path).parent
    tag(name, version, {WEIGHTS: weights.sha256, FOLDER: folder.as_posix(), **(tags or {})})
    if (chosen := folder / TRAINING_LIST).is_file():
        tag(name, version, {LIST: sha256_file(chosen)})
    write_text(output / "registered.txt", version)
    point(name, CHALLENGER, version)
    note_model({"mlflow": f"models:/{name}/{version}"})
    tracking.log_file(card)
    tracking.tag({"model.version": version})
    return version


def versions_with(weights_sha256: str) -> list[ModelVersion]:
    """The versions, of whatever name, that hold these weights; the latest first."""
    found = [version for version in all_versions() if version.tags.get(WEIGHTS) == weights_sha256]
    return sorted(found, key=lambda version: -int(version.version))


def all_versions() -> Iterator[ModelVersion]:
    """Every version of every name. MLflow's filters are text, in which a quote of a name would end it, so what is wanted is
    chosen from here."""
    client, token = mlflow.MlflowClient(), None
    while True:
        page = client.search_model_versions(max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def point(name: str, alias: str, version: str) -> None:
    mlflow.MlflowClient().set_registered_model_alias(name, alias, version)


def tag(name: str, version: str, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        mlflow.MlflowClient().set_model_version_tag(name, version, key, value)


def holder_of(name: str, alias: str) -> ModelVersion | None:
    """The version that has an alias, if one has."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException:
        return None


def find_version(model: str) -> ModelVersion:
    """The version meant by NAME (its latest), NAME@ALIAS or NAME/VERSION. Raises InputError if there is none."""
    name, _, alias = model.removeprefix("models:/").partition("@")
    name, _, number = name.partition("/")
    client = mlflow.MlflowClient()
    versions = {int(v.version): v for v in all_versions() if v.name == name}
    if not versions:
        known = ", ".join(sorted(m.name for m in client.search_registered_models())) or "none"
        raise InputError(f"model {shown(model)}: neither a folder nor a registered name; registered are {known}")
    chosen = holder_of(name, alias) if alias else versions.get(int(number) if number.isdecimal() else max(versions))
    if chosen is None or (number and not number.isdecimal()):
        raise InputError(
            f"model {model!r}: {name} has versions {', '.join(map(str, sorted(versions)))} and no such one"
        )
    return chosen


def aliases_of(version: ModelVersion) -> list[str]:
    aliases = mlflow.MlflowClient().get_registered_model(version.name).aliases
    return sorted(alias for alias, number in aliases.items() if str(number) == str(version.version))


class Registered:
    """A registered classifier, as whoever serves it sees it: images in, probabilities out."""

    def __init__(self, version: ModelVersion):
        self.uri = f"models:/{version.name}/{version.version}"
        info = mlflow.models.get_model_info(self.uri)
        noted = info.metadata or {}
        self.labels = tuple(noted.get("labels", ()))
        self.resize: Resize = noted.get("resize", "bicubic")  # versions before this was noted
        self.image_size = int(noted.get("image_size") or info.signature.inputs.inputs[0].shape[-1])

    def predict(self, pixels: Tensor) -> Tensor:
        """(N, C) probabilities of images (N, 3, S, S) uint8."""
        model = mlflow.pyfunc.load_model(self.uri)
        parts = (part.numpy().astype(np.float32) / 255 for part in pixels.split(TOGETHER))
        return torch.cat([torch.from_numpy(self._rows(model.predict(part))) for part in parts])

    def _rows(self, answers: Any) -> np.ndarray:
        """(N, C) float32 of a version's answers: names with scores, or of earlier versions the scores alone."""
        rows = [[a["scores"][label] for label in self.labels] if isinstance(a, dict) else a for a in answers]
        return np.asarray(rows, np.float32)
