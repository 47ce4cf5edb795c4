"""When work need not be done again: a result is current if all that decided it is the same.

ZenML's own step cache does not see helper modules, and DVC empties a stage's outputs behind its back; so steps that
write files run always, and ask here whether the file they would write is already the right one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from figment.files import digest, write_text
from figment.keys import jsonable
from figment.ops.source import stage_code

asked: list[bool] = []  # in this step: what ``is_current`` answered, and whether all images were there


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


def forget(output: Path) -> None:
    """Say that ``output`` is no longer what any key stands for: another step has added to it."""
    _stamp(output).unlink(missing_ok=True)


def _stamp(output: Path) -> Path:
    return output.with_name(f".{output.name}.key")


def cached(path: Path, module: str, inputs: Mapping[str, Any], make: Callable[[], object]) -> Path:
    """``path``, once it is current: ``make`` writes it if it is not. ``inputs`` and the code of ``module`` decide it."""
    key = result_key(module, **inputs)
    if not is_current(path, key):
        make()
        mark_current(path, key)
    return path
