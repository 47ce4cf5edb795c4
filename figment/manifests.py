"""What travels between pipeline steps: small typed references that name files by path and hash, never the bytes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from figment import store
from figment.errors import InputError
from figment.files import sha256_file


class FileRef(BaseModel):
    """A file under ``artifacts/`` and its SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileRef":
        return cls(path=path.as_posix(), sha256=sha256_file(path))

    def open(self) -> Path:
        """The path, after checking that the file is still the one meant."""
        path = Path(self.path)
        store.fetch(path)
        if not path.is_file():
            raise InputError(f"{path}: an earlier step wrote it, but it is gone; run the pipeline again to make it")
        if sha256_file(path) != self.sha256:
            raise InputError(
                f"{path}: it changed since an earlier step of this run wrote it; do not run two pipelines into one folder"
            )
        return path


class Prepared(BaseModel):
    """What the data stage leaves: ``splits`` of images with several classes each, a few ``photos`` of every class that stages
    learn from, and the gates that all of them have passed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    splits: FileRef | None = None
    photos: FileRef | None = None
    checked: tuple[str, ...] = ()


class Adapted(BaseModel):
    """What the adaptations of the generator wrote, one file each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[FileRef, ...]


class ClassifierRef(BaseModel):
    """A trained classifier: the set it learned from, how many images that was, and its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    weights: FileRef


class Classifiers(BaseModel):
    """All classifiers of a run, in the order of the results' table. ``deployed``: the one to be registered, if not the usual."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[ClassifierRef, ...]
    deployed: str = ""

    def __getitem__(self, name: str) -> ClassifierRef:
        return next(item for item in self.items if item.name == name)
