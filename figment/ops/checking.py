"""One sentence for a key that is not known and for a value that does not fit: what was found, and what would be right."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from figment.errors import InputError
from figment.reading import mapping, name_of, read_yaml
from figment.text import one_line, shown
from figment.types import Settings

CONFIG = "the YAML file of a pipeline, with 'parameters:'"

MOVED = {  # keys of configs before 0.2.0
    "tuning": "adaptation", "inversion": "adaptation.inversion", "probe": "adaptation.probe", "lora": "adaptation.lora",
    "classifier": "training", "backbone": "training.backbone", "image_size": "training.image_size", "vectors": "training.vectors",
    "twin_cosine": "training.twin_cosine", "contexts": "prompts",
}  # fmt: skip


def read_config(path: Path) -> dict[str, Any]:
    """The whole of a pipeline's config file, not validated but for its shape: what has keys of its own is a mapping."""
    config = mapping(read_yaml(path, CONFIG), name_of(path), CONFIG)
    for field in ("parameters", "settings", "steps"):
        mapping(config.get(field), f"{name_of(path)}: {field}", "names and their values")
    return config


def refuse_unknown(found: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises InputError for the first key that is not known, with the nearest that is."""
    known = list(known)
    for name in found:
        if name not in known:
            raise InputError(f"{where}: {shown(name)} is not known here; {_right(str(name), known)}")


def _right(name: str, known: Iterable[str]) -> str:
    """What to write in place of a key: where it moved, what is near, or all there are."""
    known, now = list(known), MOVED.get(name, "")
    if now.partition(".")[0] in known:
        return f"it is now {now!r} (docs/upgrading.md)"
    hint = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {hint[0]!r}?" if hint else f"known are {', '.join(known)}"


def complaint(error: ValidationError, model: Any) -> str:
    """The first thing that is wrong: the field, and what was found or what is near."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a typo explains what is missing, too
    return _sentence(first, model)


def sentences(model: Any, values: Mapping[str, Any]) -> tuple[list[tuple[tuple[str, ...], str]], set[str]]:
    """Each thing that is wrong with ``values`` for a pydantic model: its place, and the sentence of ``complaint``; and the names
    of the model's fields that are wrong."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        found = [(tuple(map(str, each["loc"])) or ("",), _sentence(each, model)) for each in error.errors()]
        return found, {place[0] for place, _ in found}
    return [], set()


def parameters_model(function: Callable[..., Any]) -> type[Settings]:
    """The one config that a pipeline's function takes: its fields are the pipeline's parameters."""
    if known := getattr(function, "recipe", None):
        return known
    (parameter,) = inspect.signature(function).parameters.values()
    return parameter.annotation


def _sentence(first: Any, model: Any) -> str:
    field = one_line(".".join(map(str, first["loc"])))
    if first["type"] == "missing":
        return f"{field}: Field required"
    if first["type"] == "union_tag_not_found":
        kinds = [repr(fields["kind"].default) for m in _models_at(first["loc"], model) if (fields := m.model_fields)]
        return f"{field}: it has no 'kind'; give one of {', '.join(kinds)}; found {shown(first['input'])}"
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{field}: a mapping of fields is expected; found {shown(first['input'])}"
    if first["type"] != "extra_forbidden":
        return f"{field}: {one_line(first['msg']).removeprefix('Value error, ')}; found {shown(first['input'])}"
    known = {name: None for m in _models_at(first["loc"][:-1], model) for name in m.model_fields}
    return f"{field} is not known; {_right(str(first['loc'][-1]), known)}"


def _models_at(place: Iterable[Any], model: Any) -> list[Any]:
    """The pydantic models that what stands at a place may be."""
    models = [model]
    for name in place:
        deeper = [m for parent in models if name in parent.model_fields for m in models_of(parent.model_fields[name])]
        models = deeper or models  # a union's tag, or the number in a list, names no field
    return models


def models_of(annotation: Any) -> list[Any]:
    """The pydantic models that a field may hold: one, or the members of a union."""
    annotation = getattr(annotation, "annotation", annotation)
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for member in get_args(annotation) for model in models_of(member)]
