"""ZenML's ``step`` for steps that run anywhere: here, or each in a process and an empty folder of its own.

Without a store (``figment.store``) it is ZenML's own. With one, a step finds what the store holds of all that its arguments
name below ``artifacts/``, and what it leaves there is in the store when it ends.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zenml
from pydantic import BaseModel
from zenml.steps import BaseStep

from figment import store
from figment.files import canonical_json
from figment.keys import jsonable
from figment.manifests import FileRef
from figment.ops import artifacts, caching, lineage, tracking
from figment.ops.stack import fetch_data

SCHEMAS: dict[str, dict[str, Any] | None] = {}  # the last one


def step(function: Callable[..., Any] | None = None, role: str = "light", **options: Any) -> Any:
    """Decorator: ``@step`` or ``@step(experiment_tracker=True)``, as ZenML's. ``role``: what machine it needs, which a stack's
    file gives it (figment.ops.roles)."""

    def decorate(function: Callable[..., Any]) -> Any:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if tracking.note_run():
                lineage.begin()
            with told(artifacts.step_name() or function.__name__):
                if not store.url():
                    return function(*args, **kwargs)
                fetch_data()
                with store.mirrored(named([args, kwargs])):
                    return function(*args, **kwargs)

        made = zenml.step(run, **options)
        made._compute_parameter_schema = functools.partial(schema_of, made)
        return made

    return decorate if function is None else decorate(function)


def schema_of(made: BaseStep) -> dict[str, Any] | None:
    """The JSON schema of a step's parameters, as ZenML makes it; steps with the same parameters share one, which takes a second
    to make of a whole recipe."""
    key = canonical_json(jsonable(made.configuration.parameters))
    if key not in SCHEMAS:
        SCHEMAS.clear()
        SCHEMAS[key] = BaseStep._compute_parameter_schema(made)
    title = f"{made.name.title().replace('_', '')}Parameters"
    schema = SCHEMAS[key]
    return {**schema, "title": title} if schema else schema


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Print how long a step took, and whether all that it looked up was there already; ZenML notes that as metadata, since to it
    each step ran."""
    start = time.monotonic()
    caching.asked.clear()
    yield
    reused = bool(caching.asked) and all(caching.asked)
    print(f"{name}: {time.monotonic() - start:.1f} s{', nothing had changed' if reused else ''}", flush=True)
    artifacts.note({"reused": reused})


def named(value: Any) -> Iterator[Path]:
    """The paths below artifacts/ in a step's arguments: files and folders that are named, and the folders of files that other
    steps made, since what belongs to those lies beside."""
    if isinstance(value, FileRef):
        yield Path(value.path).parent
    elif isinstance(value, str):
        if value.startswith(f"{store.FOLDER}/"):
            yield Path(value)
    elif isinstance(value, BaseModel):
        yield from named([getattr(value, field) for field in type(value).model_fields])
    elif isinstance(value, Mapping):
        yield from named(value.values())
    elif isinstance(value, Iterable):
        for item in value:
            yield from named(item)
