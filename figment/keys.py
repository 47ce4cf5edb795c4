"""The key of an unfinished training: a checkpoint with another key is not resumed."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from figment.files import digest


def checkpoint_key(version: int, **inputs: Any) -> str:
    """SHA-256 (hex) of what an unfinished training depends on: the trainer's format ``version``, its config and its data.

    Code is not among it, so a training resumes after any edit. Of configs only what differs from the defaults counts: an
    option that is added later leaves old checkpoints valid. Whoever changes what a checkpoint holds, what its numbers mean or
    a default of a trainer's config raises the trainer's version.
    """
    return digest({"version": version, "inputs": jsonable(inputs, exclude_defaults=True)})


def jsonable(value: Any, exclude_defaults: bool = False) -> Any:
    """``value`` with each pydantic model in it as JSON values, with or without the fields that have their default."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=exclude_defaults)
    if isinstance(value, Mapping):
        return {name: jsonable(item, exclude_defaults) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, exclude_defaults) for item in value]
    return value
