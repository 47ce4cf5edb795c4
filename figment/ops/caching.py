"""Work that need not be done again, and the truth about it: a result counts as current only if all that decided it is.

ZenML's own step cache does not see helper modules, and DVC empties a stage's outputs behind its back; so steps that
write files run always, and ask here whether the file they would write is already the right one.
"""

from functools import cache
from pathlib import Path
from typing import Any

from figment.files import digest, sha256_file, sha256_folder, write_text

PACKAGES = ("figment", "models", "steps")


@cache
def source_digest() -> str:
    """One hash of all code and of the locked packages: a changed helper or library invalidates what was made with it."""
    root = Path(__file__).resolve().parents[2]
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    files += [file for file in [root / "uv.lock"] if file.is_file()]
    return digest({file.relative_to(root).as_posix(): sha256_file(file) for file in files})


def key_of(**inputs: Any) -> str:
    """A key of everything that decides a result: the given inputs (JSON values) and the code."""
    return digest({**inputs, "code": source_digest()})


def is_current(output: Path, key: str) -> bool:
    """Whether ``output`` was finished under this key."""
    stamp = _stamp(output)
    return output.exists() and stamp.is_file() and stamp.read_text(encoding="utf-8") == key


def mark_current(output: Path, key: str) -> None:
    """Say, last of all, that ``output`` is finished under this key."""
    write_text(_stamp(output), key)


def _stamp(output: Path) -> Path:
    return output.with_name(f".{output.name}.key")


def model_digest(model: str) -> str:
    """The content hash of a local model folder (``local-dir:`` or a path), or the id of a remote one; empty for none."""
    folder = model.removeprefix("local-dir:")
    return sha256_folder(Path(folder)) if folder and Path(folder).is_dir() else model


def data_digest(path: Path, split: str) -> str:
    """What tells one version of real data from another: names, sizes and times of its files (hashing may take hours)."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stats = [(p.relative_to(path).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return digest({"split": split, "files": stats})
