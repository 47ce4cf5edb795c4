"""Whether a whole run need not be done again, known from files alone, before ZenML and torch are imported.

A run that ended well leaves a note of all that decided it and of all that it made. As long as both are the same, nothing is to
do. The note lies beside the databases that hold the run: without them the next run is a full one. Where it is not certain (a
hub model's branch may have moved, a store elsewhere, more files than can be looked at in a second) there is no note, and each
step asks for itself (``figment.ops.caching``).
"""

import os
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from figment import store
from figment.files import digest, write_text
from figment.keys import jsonable
from figment.ops import state
from figment.ops.databases import repository
from figment.ops.environment import PACKAGE, PIPELINES
from figment.ops.source import texts
from figment.types import PREFIX

MAX_FILES = 100_000


def inputs_key(pipeline: str, config: Path, parameters: Any) -> str | None:
    """What decides a run: the config, as it is and with its defaults, the files that it names, the code, the versions of the
    installed libraries, the stack and the tracker. None if not all of it can be known here. Take it before the run."""
    values = jsonable(parameters)
    places = (Path(PREFIX.sub("", text, count=1)).expanduser() for text in strings(values))
    named = [path for path in places if path != Path()]  # an empty text, or a root whose folders are named beside it
    remote = [path for path in named if "/" in str(path) and not path.exists() and str(path) != values.get("output")]
    if store.url() or remote:
        return None
    files = _listed([path for path in named if str(path) != values.get("output") and os.path.lexists(path)])
    if files is None:
        return None
    active = repository() / ".zen/config.yaml"  # which stack is active
    return digest(
        {
            "pipeline": pipeline,
            "config": config.read_text(encoding="utf-8"),
            "parameters": values,
            "files": files,
            "code": texts(),
            "pages": {file.name: file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.j2")},
            "gates": [file.read_text(encoding="utf-8") for file in sorted(Path("configs/expectations").glob("*.json"))],
            "order": (PIPELINES / f"{pipeline}.py").read_text(encoding="utf-8"),
            "libraries": sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("*.dist-info")),
            "python": sys.version,
            "stack": active.read_text(encoding="utf-8") if active.is_file() else "",
            "tracker": os.environ.get("MLFLOW_TRACKING_URI", ""),
        }
    )


def is_finished(key: str | None, output: Path) -> bool:
    """Whether a run decided by ``key`` ended well and all that it made is as it left it."""
    note = _note(output)
    if key is None or not note.is_file() or not all(database.file.is_file() for database in state.databases()):
        return False
    return note.read_text(encoding="utf-8") == _text(key, output)


def mark_finished(key: str | None, output: Path) -> None:
    """Say, after a run that ended well, what decided it and what it made."""
    if key is not None and (text := _text(key, output)):
        write_text(_note(output), text)


def _note(output: Path) -> Path:
    return state.zenml_folder().with_name("finished") / digest(output.as_posix())[:32]


def _text(key: str, output: Path) -> str | None:
    files = _listed([output])
    return digest([key, files]) if files is not None else None


def _listed(paths: list[Path]) -> list[tuple[str, int, int, int]] | None:
    """Name, size and times of all files at or below the paths; None if they are too many."""
    found = list(islice(_files(paths), MAX_FILES + 1))
    return sorted(found) if len(found) <= MAX_FILES else None


def _files(paths: list[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        below = (Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
        for file in below if path.is_dir() else [path]:
            if file.is_file():
                found = file.stat()
                yield file.as_posix(), found.st_size, found.st_mtime_ns, found.st_ctime_ns


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
