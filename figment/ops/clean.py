"""``figment clean``: what can go without a loss, or a whole run; nothing is deleted before it was shown."""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from figment import store
from figment.errors import InputError
from figment.ops import state
from figment.ops.versioning import POINTER
from figment.text import reason_of, shown

DAY = 86_400  # seconds; what is younger may belong to a run under way
COPIES = {  # in .figment/: fetched or made again when it is needed
    "uv": "downloaded packages; installed ones stay",
    "matplotlib": "a cache of fonts",
    "torchinductor": "compiled code",
    "tests": "the state of this project's tests",
    "gates/site": "Data Docs: make gates",
}
LEFT = {  # by pattern, in .figment/ and below artifacts/
    "*.partial": "a file under way when its run ended",
    "*.damaged-*": "a damaged shard, set aside",
    "*.unreadable": "a damaged note, set aside",
    "*.db.[0-9]*": "a half-made database without runs, set aside",
}
Row = tuple[Path, int, str]


def find(runs: Sequence[str] = ()) -> list[Row]:
    """What would be deleted: path, bytes, and what it is. ``runs`` are folders, or names below artifacts/; else it is caches,
    and what interrupted runs left. Raises InputError for a run that is not there."""
    return [(path, sum(_sizes(path)), what) for path, what in (map(_run, runs) if runs else _rest())]


def _rest() -> Iterator[tuple[Path, str]]:
    for name, what in COPIES.items():
        if (state.FOLDER / name).is_dir():
            yield state.FOLDER / name, what
    long_ago = time.time() - DAY
    for pattern, what in LEFT.items():
        found = [path for folder in (state.FOLDER, Path(store.FOLDER)) for path in folder.rglob(pattern)]
        others = [path for path in found if not any(path.is_relative_to(state.FOLDER / name) for name in COPIES)]
        yield from ((path, what) for path in sorted(others) if path.lstat().st_mtime < long_ago)


def _run(name: str) -> tuple[Path, str]:
    folder = Path(name) if "/" in name else Path(store.FOLDER, name)
    if not folder.is_dir() or not folder.resolve().is_relative_to(Path(store.FOLDER).resolve() / ""):
        raise InputError(
            f"run {shown(name)}: no folder of that name below {store.FOLDER}/; `figment dataset list` names runs"
        )
    if folder.resolve() == Path(store.FOLDER).resolve():
        raise InputError(f"run {shown(name)}: is the folder of all runs; name one of them")
    kept = (folder / POINTER).is_file()
    return folder, "a run; DVC keeps what was committed" if kept else "a run that DVC does not keep: it is gone then"


def delete(rows: Iterable[Row]) -> None:
    """Raises InputError for what cannot be deleted; a link goes, never what it points to."""
    for path, _, _ in rows:
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be deleted ({reason_of(error)}); the rest of the list is as it was"
            ) from error


def _sizes(path: Path) -> Iterator[int]:
    """Of files that go with the path: those that have another name, as in DVC's cache, stay on the disk."""
    for file in path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]:
        found = file.lstat()
        if not file.is_dir() and found.st_nlink == 1:
            yield found.st_size
