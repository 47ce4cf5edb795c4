"""What the training stage does: a trainer, one for each kind, gives jobs, and each job makes one saved model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from torch import nn

from figment.checkpoint import Checkpoint
from figment.clip.config import ClipConfig
from figment.datasets.kinds import Data
from figment.files import write_json
from figment.labels import LabelSpace
from figment.loop import Log
from figment.manifests import FileRef
from figment.training.histories import HISTORY
from figment.training.saved import Kind, Provenance, SavedModel, save_model


class Cache(Protocol):
    """Returns ``path`` once it holds what ``make`` writes there; ``inputs`` and the code of ``module`` decide what that is."""

    def __call__(self, path: Path, module: str, inputs: Mapping[str, Any], make: Callable[[], object]) -> Path: ...


@dataclass(frozen=True)
class Material:
    """What classifiers are trained on. ``sets``: at most how many accepted images of every class by trick, by the set's name;
    ``data``: the real images, which ``splits`` or ``photos`` hold where earlier stages have read them."""

    output: Path
    space: LabelSpace
    data: Data
    cached: Cache
    sets: Mapping[str, Mapping[str, int]]
    splits: FileRef | None = None
    photos: FileRef | None = None
    plan: FileRef | None = None
    images: FileRef | None = None
    verdicts: FileRef | None = None
    clip: ClipConfig | None = None


@dataclass(frozen=True)
class Trained:
    """What a training ends with: the network of a ``kind``, what is saved with it, its curve or its epochs; and what else is
    saved beside."""

    kind: Kind[Any]
    network: nn.Module
    settings: Any
    saved: SavedModel
    history: Any
    save_more: Callable[[SavedModel], object] = lambda saved: None


@dataclass(frozen=True)
class Job:
    """One classifier, to be trained into ``folder``. ``inputs`` decide its weights, together with the code of ``module``;
    ``later`` gives what else does and is known only when the jobs before it are done, such as the hash of a teacher's weights.
    ``version`` is that of its checkpoints. ``listed``: the images that it learns from, ``data``: digests of what else.
    ``compared``: it is one of several that are trained on different sets. ``deployed``: it is registered in place of those
    before it."""

    name: str
    folder: Path
    module: str
    version: int
    inputs: Mapping[str, Any]
    train: Callable[[Checkpoint, Log], Trained]
    listed: pa.Table | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    compared: bool = True
    deployed: bool = False
    prefix: str = "training"
    later: Callable[[], Mapping[str, Any]] = dict


def save_trained(job: Job, trained: Trained, key: str) -> None:
    """Write the history, the weights and ``model.json`` into the job's folder."""
    write_json(job.folder / HISTORY, trained.history)
    saved = trained.saved.model_copy(update={"provenance": Provenance(key=key, data=dict(job.data))})
    save_model(trained.kind, trained.network, trained.settings, saved, job.folder)
    trained.save_more(saved)
