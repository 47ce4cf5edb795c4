"""What machine each step needs, as its file declares it: ``@step(role="render")``. Imported, the files would load torch and all
else that steps need; so they are read."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from figment.ops.environment import CLONE, PACKAGE, ROOT

# make images; train; ask a language model; look at images; the rest
ROLES = ("render", "train", "write", "look", "light")
STEPS = ROOT / "steps" if CLONE else PACKAGE / "_steps"
DECORATOR = "step"


def role_of(step: str) -> str:
    """The role that a step declares; without one it is light."""
    return roles().get(step, "light")


@cache
def roles() -> dict[str, str]:
    """The role of every step."""
    return {name: role for file in sorted(STEPS.rglob("*.py")) for name, role in _declared(file)}


def _declared(file: Path) -> Iterator[tuple[str, str]]:
    for function in ast.parse(file.read_text(encoding="utf-8")).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            called, options = (
                (decorator.func, decorator.keywords) if isinstance(decorator, ast.Call) else (decorator, [])
            )
            if isinstance(called, ast.Name) and called.id == DECORATOR:
                values = {option.arg: ast.literal_eval(option.value) for option in options}
                yield function.name, values.get("role", "light")
