"""The code that a stage runs: the modules that its step imports, and what those import, without the rest of Figment.

Code is compared as its syntax tree without docstrings: comments and formatting do not count. All files are read once, when
the process starts: what is edited while a long run goes on is not the code that the run has loaded.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import NamedTuple

from figment.files import digest
from figment.ops.environment import CLONE, ROOT

PACKAGES = ("figment", "models", "steps") if CLONE else ("figment",)
RECORDING = ("figment.errors", "figment.ops", "figment.store")  # log, check, move and name results; none computes one
NEUTRAL = ("jinja2", "mlflow", "pydantic", "rich", "tqdm", "zenml")  # libraries that decide no number
DISTRIBUTIONS = {"PIL": "pillow", "open_clip": "open_clip_torch", "sklearn": "scikit-learn", "yaml": "PyYAML"}


class Parsed(NamedTuple):
    """The syntax ``tree`` of a module, as text, and the names that it ``imports`` anywhere, also in functions."""

    tree: str
    imports: frozenset[str]


def stage_code(entry: str) -> dict[str, str]:
    """What decides a stage's results, beside its inputs: by module the digest of the code that ``entry``, the step's module,
    imports directly or not, and by library its version. Raises ValueError if ``entry`` is none of Figment's modules."""
    return dict(_stage_code(entry))


@cache
def _stage_code(entry: str) -> dict[str, str]:
    if entry not in texts():
        raise ValueError(f"{entry}: not a module in {', '.join(PACKAGES)}; its results cannot be known by its code")
    found: dict[str, str] = {}
    libraries: set[str] = set()
    todo = {entry}
    while todo:
        name = todo.pop()
        files = texts()[name]
        parsed = _parse(files["code"])
        found[name] = digest({**files, "code": parsed.tree})
        own = {imported for imported in parsed.imports if imported.partition(".")[0] in PACKAGES}
        libraries |= {imported.partition(".")[0] for imported in parsed.imports - own}
        modules = {module for imported in own for module in _with_parents(imported)}
        todo |= {module for module in modules - found.keys() if not _is_recording(module)}
    counted = libraries - sys.stdlib_module_names - set(NEUTRAL)
    return found | {f"{name} (library)": _version(name) for name in counted}


@cache
def texts() -> dict[str, dict[str, str]]:
    """By module its files, as they are when this is first called: its code, and the texts in a folder of its name."""
    found: dict[str, dict[str, str]] = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if file.stem == "__init__" else parts)
            found.setdefault(name, {})["code"] = file.read_text(encoding="utf-8")
        for file in (ROOT / package).rglob("*.txt"):
            found.setdefault(".".join(file.parent.relative_to(ROOT).parts), {})[file.name] = file.read_text("utf-8")
    return {name: files for name, files in found.items() if "code" in files}


@cache
def _parse(code: str) -> Parsed:
    tree = _WithoutStrings().visit(ast.parse(code))
    return Parsed(ast.dump(tree), frozenset(_imported(tree)))


class _WithoutStrings(ast.NodeTransformer):
    """Removes docstrings, and other strings that stand for themselves."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _with_parents(name: str) -> Iterator[str]:
    """The module and the packages that are imported with it, without the product's own, which only names what it offers; of what
    is no module, such as a function, the packages alone."""
    parts = name.split(".")
    start = 2 if parts[0] == "figment" else 1
    return (known for end in range(start, len(parts) + 1) if (known := ".".join(parts[:end])) in texts())


def _is_recording(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in RECORDING)


def _version(library: str) -> str:
    try:
        return version(DISTRIBUTIONS.get(library, library))
    except PackageNotFoundError:
        return ", ".join(version(name) for name in sorted(packages_distributions().get(library, ())))
