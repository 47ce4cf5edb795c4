"""Files that are whole or absent, and the hashes that name their content."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figment import store
from figment.errors import InputError
from figment.text import reason_of


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """One hash for all files below ``folder``: their relative paths and contents."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return digest({p.relative_to(folder).as_posix(): sha256_file(p) for p in files})


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success flush it to disk, rename it and, if there is
    a store, push it; on failure remove it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {reason_of(error)}; check the folder's permissions and space"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    store.push(path)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside ``folder``; on success flush its files to disk and rename it, on failure remove it. Raises
    InputError if ``folder`` is there already and is not an empty folder, or if it cannot be written."""
    target = folder.resolve()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{folder}: is there already and is not an empty folder; give a new name to write into")
        partial.mkdir(parents=True)
        yield partial
        for path in (path for path in partial.rglob("*") if path.is_file()):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror or error}; check the folder's permissions and space"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_writable(folder: Path, where: str) -> None:
    """Raise InputError if nothing could be written into ``folder``, which need not be there yet. Nothing is made."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InputError(f"{where}: {there} is not a folder; give a folder, or a new name, to write into")
    try:
        with tempfile.TemporaryFile(dir=there):  # root may do all that permissions forbid, and a disk may be full
            pass
    except OSError as error:
        raise InputError(
            f"{where}: {there} cannot be written into ({reason_of(error)}); change its permissions or give another folder"
        ) from error


def write_text(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    try:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InputError(
            f"{path}: a result is infinite or NaN and is not written; look for the step that gave it"
        ) from error
    write_text(path, text + "\n")
