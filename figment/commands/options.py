"""Parts of a config that a command reads by itself."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from figment.errors import InputError
from figment.ops.checking import CONFIG, read_config
from figment.text import shown


def read_parameters(path: Path) -> dict[str, Any]:
    """The parameters of a pipeline's config file; embedded models that it names are where it names them then."""
    from figment.ops.embedded import link_embedded

    parameters = read_config(path).get("parameters")
    if parameters is None:
        raise InputError(f"{path}: has no 'parameters:'; expected {CONFIG}")
    link_embedded(parameters)
    return parameters


def setting(path: Path, parameters: dict[str, Any], name: str, kind: Any) -> Any:
    """One parameter, validated."""
    try:
        return TypeAdapter(kind).validate_python(parameters.get(name, {} if isinstance(kind, type) else None))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, (name, *first["loc"])))
        said = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: parameters.{field}: {said}; found {shown(first['input'])}") from error
