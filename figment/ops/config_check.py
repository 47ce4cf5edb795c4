"""What is wrong with a pipeline's config, all of it at once, without the steps of the pipeline and their libraries.

A pipeline's function is read up to its first step: its parameters with their types, and what it checks of them itself. What
ZenML has to say is asked only of a config that holds more than parameters.
"""

import ast
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from figment.errors import InputError
from figment.files import check_writable
from figment.ops.checking import parameters_model, read_config, refuse_unknown, sentences
from figment.ops.config_files import local_faults
from figment.ops.endings import say
from figment.ops.environment import PIPELINES, PREFIX, RESOURCES
from figment.ops.shots import FIELD, counts_of
from figment.reading import name_of
from figment.text import shown
from figment.types import expanded

COMMAND = re.compile(r"#\s*(?:zenml pipeline run pipelines\.|recipe: *)(\w+)")
EXAMPLES = RESOURCES / "configs" / "pocket"
STEPS = "steps"
RESOLVED = "parameters"


class Checked(NamedTuple):
    """What a config says: its pipeline, its parameters with their defaults, none of them if a field is wrong, and a sentence for
    each thing that is wrong, in the config's order; none if its run would begin."""

    pipeline: str
    parameters: dict[str, Any]
    faults: list[str]


def checked(path: Path, pipeline: str = "", on_disk: bool = True) -> Checked:
    """Check a config, of the named pipeline or of the one that it belongs to; with ``on_disk`` also whether what it names
    is there. Raises InputError for what is no config of any pipeline."""
    config = read_config(path)
    parameters = config.get(RESOLVED) or {}
    if counts := counts_of(parameters, str(path)):
        parameters = {**parameters, FIELD: counts[-1]}
    if pipeline:
        refuse_unknown([pipeline], pipelines(), "pipeline")
    name = pipeline or pipeline_of(path, parameters)
    known: dict[str, Any] = {}
    function, steps = before_steps(name)
    model = parameters_model(function)
    found, wrong = sentences(model, parameters)
    found = [(place, _of_others(place, name, model) or sentence) for place, sentence in found]
    faults = [f"{path}: parameters.{sentence}{_example(name, place, path)}" for place, sentence in found]
    checks: list[Callable[[], object]] = []
    good = {key: value for key, value in parameters.items() if key in model.model_fields and key not in wrong}
    if "output" in good:
        checks.append(lambda: check_writable(Path(good["output"]).expanduser(), f"{path}: parameters.output"))
    if not wrong:
        values = model.model_validate(parameters)
        known = {key: getattr(values, key) for key in model.model_fields}
        absent = local_faults(values) if on_disk else []
        faults += [f"{path}: parameters.{sentence}{_example(name, place, path)}" for place, sentence in absent]
        checks.append(lambda: function(values))
    if "classes" in good and "labels" not in wrong:
        from figment.labels import LabelSpace

        labels = good.get("labels") and expanded(good["labels"])
        checks.append(lambda: LabelSpace.chosen(good["classes"], labels))
    if set(config) - {RESOLVED}:
        from figment.ops.pipelines import check_run, check_top

        checks.append(lambda: check_top(config, path))
        for field in ("settings", STEPS):
            for key, value in (config.get(field) or {}).items():
                checks.append(partial(check_run, {field: {key: value}}, steps, path))
        rest = {key: value for key, value in config.items() if key not in (RESOLVED, "settings", STEPS)}
        checks.append(lambda: check_run(rest, steps, path))
    for check in checks:
        try:
            check()
        except ValueError as error:  # an InputError is one
            sentence = str(error)
            faults.append(sentence if sentence.startswith(str(path)) else f"{path}: {sentence}")
    return Checked(name, known, list(dict.fromkeys(faults)))


def refuse_faults(found: Sequence[Checked]) -> None:
    """Tell all that is wrong with some configs, the last as InputError; nothing if nothing is."""
    faults = [fault for one in found for fault in one.faults]
    for fault in faults[:-1]:
        say(f"error: {fault}")
    if faults:
        raise InputError(faults[-1])


def pipelines() -> list[str]:
    """The names of all pipelines."""
    return sorted(file.stem for file in PIPELINES.glob("*.py") if file.stem != "__init__")


def pipeline_of(path: Path, parameters: dict[str, Any]) -> str:
    """The pipeline that the config's first line runs, or else the one that knows most of its parameters."""
    known = {name: set(parameters_model(before_steps(name)[0]).model_fields) for name in pipelines()}
    with path.open(encoding="utf-8", errors="replace") as file:
        said = COMMAND.match(file.readline(1000))
    if said:
        refuse_unknown([said[1]], known, f"{name_of(path)} line 1: pipeline")
        return said[1]
    shared = {name: len(arguments & parameters.keys()) for name, arguments in known.items()}
    best = max(shared, key=lambda name: shared[name])
    if not shared[best]:
        raise InputError(
            f"{name_of(path)}: no pipeline has any of its parameters; begin it with its recipe, such as "
            "'# recipe: bag_of_tricks'"
        )
    return best


def before_steps(name: str) -> tuple[Callable[..., None], list[str]]:
    """The function of a pipeline up to its first step, and the names of its steps."""
    tree = ast.parse((PIPELINES / f"{name}.py").read_text(encoding="utf-8"))
    function = _function(tree, name)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    steps = [
        a.asname or a.name for node in imports if f"{node.module}.".startswith(f"{PREFIX}{STEPS}.") for a in node.names
    ]
    called = [step for step in steps if step in _names(function)]
    first = next((i for i, line in enumerate(function.body) if _names(line) & set(steps)), len(function.body))
    function.body = function.body[:first] or [ast.Pass()]
    function.decorator_list = []
    used = _names(function)
    kept: list[ast.stmt] = []
    for node in imports:
        node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
        kept += [node] if node.names else []
    space: dict[str, Any] = {"__name__": f"pipelines.{name}"}
    module = ast.fix_missing_locations(ast.Module([*kept, function], []))
    exec(compile(module, str(PIPELINES / f"{name}.py"), "exec"), space)
    return space[name], called


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _of_others(place: tuple[str, ...], name: str, model: Any) -> str:
    """A sentence on a field that this pipeline does not have and others do; "" of any other."""
    if len(place) > 1 or place[0] in model.model_fields:
        return ""
    having = [other for other in pipelines() if place[0] in parameters_model(before_steps(other)[0]).model_fields]
    return f"{place[0]} is no field of {name}; it belongs to {' and '.join(having)}: leave it out" if having else ""


def _example(name: str, place: tuple[str, ...], path: Path) -> str:
    """What a shipped config of the same pipeline has at this place, as the end of a sentence; "" if none has anything there."""
    for file in sorted(EXAMPLES.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        command = COMMAND.match(text)
        if command and command[1] == name and file.resolve() != path.resolve():
            value, at = yaml.safe_load(text)[RESOLVED], ""
            for part in place:
                if isinstance(value, dict) and part in value:  # a union's tag names no field
                    value, at = value[part], part
            if at == place[-1]:
                return f"; such as {at}: {shown(value)}"
    return ""
