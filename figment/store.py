"""Steps without a shared disk: what lies below ``artifacts/`` has its like, under the same path, in the object store that the
variable FIGMENT_STORE names (``s3://BUCKET/PREFIX``, or whatever else fsspec opens).

A file goes up as soon as it is finished (``figment.files.atomic``), in the order of writing: a killed process loses what it
had under way and nothing else. A step that begins gets what the store holds of its folders (``mirrored``), but for what may
be large: files that are named by a hash, and ``pixels.npy``, come when they are opened. There is no index to keep. What the
store lists is there, and a file named by a hash is never changed, so any number of steps may write side by side.

Without the variable all functions return at once.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from figment.errors import InputError
from figment.text import reason_of

VARIABLE, FOLDER = "FIGMENT_STORE", "artifacts"
LARGE = re.compile(r"[0-9a-f]{24,}(\..+)?|pixels\.npy")  # shards, features, answers, photos, adapters, splits
AT_ONCE = 16  # transfers

_there: dict[str, str] = {}  # what the store lists: path -> its own description (tag, time, size)
_listed: set[str] = set()  # the folders that it was asked for
_held: dict[str, tuple[str, int, int]] = {}  # what was fetched or pushed: its description, its time and size here


def url() -> str:
    """The address of the store, empty if there is none."""
    return os.environ.get(VARIABLE, "").rstrip("/")


def push(path: Path) -> None:
    """Send a finished file."""
    if key := _key(path):
        store, root = _open(url(), os.getpid())
        held = ("", *_stat(path))
        with _named(key):
            store.put_file(str(path), f"{root}/{key}")
        _there[key], _held[key] = "", held


def fetch(*paths: Path) -> None:
    """Bring those of ``paths`` that are not here and that the store has."""
    if url():
        _download([key for path in paths if not path.exists() and (key := _key(path)) and _in_store(key)])


def read(path: Path) -> Any:
    """A file of the store, open to be read in parts."""
    store, root = _open(url(), os.getpid())
    with _named(key := _key(path)):
        return store.open(f"{root}/{key}", cache_type="none")


def exists(path: Path) -> bool:
    """Whether a file is here, or in the store when its folder was last listed."""
    return path.exists() or bool((key := _key(path)) and _in_store(key))


def names(folder: Path) -> set[str]:
    """The files of a folder that the store has at this moment, without those of folders in it."""
    key = _key(folder)
    return {path.rpartition("/")[2] for path in _list(key) if path.rpartition("/")[0] == key} if key else set()


def complete(folder: Path, without: Iterable[str] = ()) -> None:
    """Bring all below ``folder``, large or not, but for what lies in the folders ``without`` and the pool's shard records."""
    if key := _key(folder):
        left_out = {f"{key}/{name}" for name in without}
        fetch(*(Path(k) for k in _list(key) if not (left_out & _above(k) or k.endswith(".shard.json"))))


def bring(paths: Iterable[Path]) -> list[str]:
    """Bring what the store holds of these files and folders, or has in a newer form, but for the large. Returns the outermost."""
    keys = {key for path in paths if (key := _key(path))}
    keys = {key for key in keys if not keys & (_above(key) - {key})}
    listed = [found for key in sorted(keys) for found in _list(key)]
    _download([k for k in listed if not _is_large(k) and _held.get(k) != (_there[k], *_stat(Path(k)))])
    return sorted(keys)


@contextlib.contextmanager
def mirrored(paths: Iterable[Path]) -> Iterator[None]:
    """``bring``; at the end, if nothing was raised, send what the store does not hold as it is here, and remove there what was
    brought and has been removed here."""
    keys = bring(paths)
    yield
    for key in keys:
        for path in sorted(Path(key).rglob("*")) if Path(key).is_dir() else [Path(key)]:
            known = _is_large(path.name) and path.as_posix() in _there
            same = _held.get(path.as_posix(), ("", 0, 0))[1:] == _stat(path)
            if path.is_file() and not (known or same or path.suffix == ".partial"):
                push(path)
        for gone in [k for k in list(_held) if key in _above(k) and not _is_large(k) and not Path(k).exists()]:
            store, root = _open(url(), os.getpid())
            with _named(gone), contextlib.suppress(FileNotFoundError):
                store.rm_file(f"{root}/{gone}")
            del _held[gone]
            _there.pop(gone, None)


def _key(path: Path) -> str:
    """The path below the working folder, by which the store calls a file or folder of ``artifacts/``; else empty, as of what
    lies in a folder that is being written (``figment.files.atomic_folder``)."""
    key = Path(os.path.relpath(path)).as_posix() if url() else ""
    return key if key.startswith(f"{FOLDER}/") and ".partial/" not in key else ""


def _is_large(key: str) -> bool:
    return LARGE.fullmatch(key.rpartition("/")[2]) is not None


def _above(key: str) -> set[str]:
    """A path and all folders that it lies in."""
    return {key, *(parent.as_posix() for parent in Path(key).parents)}


def _stat(path: Path) -> tuple[int, int]:
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size
    return 0, -1


def _in_store(key: str) -> bool:
    if not _above(key) & _listed:
        _list(key.rpartition("/")[0])
    return key in _there


def _list(key: str) -> list[str]:
    """Ask the store what it has of a folder, or whether it has a file."""
    store, root = _open(url(), os.getpid())
    with _named(key):
        store.invalidate_cache()
        found = store.find(f"{root}/{key}", detail=True)
    for old in [k for k in list(_there) if key in _above(k)]:
        del _there[old]
    here = {name[len(root) + 1 :]: str(sorted(info.items(), key=str)) for name, info in found.items()}
    _there.update(here)
    _listed.add(key)
    return sorted(here)


def _download(keys: list[str]) -> None:
    """Each under a temporary name first."""

    def bring(key: str) -> None:
        path = Path(key)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _named(key):
                store.get_file(f"{root}/{key}", str(partial))
            partial.replace(path)
            _held[key] = (_there[key], *_stat(path))
        except FileNotFoundError:  # another step has removed it since it was listed
            _there.pop(key, None)
        finally:
            partial.unlink(missing_ok=True)

    if keys:
        store, root = _open(url(), os.getpid())
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(bring, keys))


@cache
def _open(address: str, process: int) -> tuple[Any, str]:
    """The file system and the path of the store in it; a ``process`` that was forked has connections of its own."""
    import fsspec

    with _named(""):
        store, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    return store, str(root).rstrip("/")


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """What goes wrong with the store, in a sentence. A file that is not there stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # each kind of store raises its own
        raise InputError(
            f"{url()}/{key}: the store does not answer ({reason_of(error)}); {VARIABLE} names a bucket and folder "
            "that exist, the packages are `uv sync --extra s3` (or gs), and credentials are those of your cloud's own tools"
        ) from error
