"""The key of an unfinished training: a checkpoint with another key is not resumed; and digests of models, files and data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from figment.files import digest, sha256_file, sha256_folder


def checkpoint_key(version: int, **inputs: Any) -> str:
    """SHA-256 (hex) of what an unfinished training depends on: the trainer's format ``version``, its config and its data.

    Code is not among it, so a training resumes after any edit. Of configs only what differs from the defaults counts: an
    option that is added later leaves old checkpoints valid. Whoever changes what a checkpoint holds, what its numbers mean or
    a default of a trainer's config raises the trainer's version.
    """
    return digest({"version": version, "inputs": jsonable(inputs, exclude_defaults=True)})


def jsonable(value: Any, exclude_defaults: bool = False) -> Any:
    """``value`` with each pydantic model in it as JSON values, with or without the fields that have their default."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=exclude_defaults)
    if isinstance(value, Mapping):
        return {name: jsonable(item, exclude_defaults) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, exclude_defaults) for item in value]
    return value


def model_digest(model: str) -> str:
    """The content hash of a local model folder (``local-dir:`` or a path), or the id of a remote one; empty for none."""
    folder = model.removeprefix("local-dir:")
    return sha256_folder(Path(folder)) if folder and Path(folder).is_dir() else model


def file_digest(path: str | None) -> str:
    """The content hash of a file or folder, empty for none and for what is not there."""
    place = Path(path) if path else Path("/nonexistent")
    return sha256_file(place) if place.is_file() else sha256_folder(place) if place.is_dir() else ""


def data_digest(path: Path, split: str) -> str:
    """What tells one version of real data from another: names, sizes and times of its files (hashing may take hours)."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stats = [(p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return digest({"split": split, "files": stats})
