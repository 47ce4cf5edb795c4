"""When work need not be done again: a result is current if all that decided it is the same.

ZenML's own step cache does not see helper modules, and DVC empties a stage's outputs behind its back; so steps that
write files run always, and ask here whether the file they would write is already the right one.
"""

from pathlib import Path
from typing import Any

from figment.files import digest, sha256_file, sha256_folder, write_text
from figment.keys import jsonable
from figment.ops.source import stage_code

asked: list[bool] = []  # what ``is_current`` answered, in this step


def result_key(stage: str, **inputs: Any) -> str:
    """SHA-256 (hex) of what decides a result: ``inputs`` (JSON values and pydantic models), the code that the module ``stage``
    (the step's ``__name__``) imports, and the versions of the libraries that this code imports.

    An unfinished training has a key of its own, which knows no code: ``figment.keys.checkpoint_key``.
    """
    return digest({"inputs": jsonable(inputs), "code": stage_code(stage)})


def is_current(output: Path, key: str) -> bool:
    """Whether ``output`` was finished under this key."""
    stamp = _stamp(output)
    asked.append(output.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == key)
    return asked[-1]


def mark_current(output: Path, key: str) -> None:
    """Say, last of all, that ``output`` is finished under this key."""
    write_text(_stamp(output), key)


def _stamp(output: Path) -> Path:
    return output.with_name(f".{output.name}.key")


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
