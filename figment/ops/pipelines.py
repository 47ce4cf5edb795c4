"""A ZenML pipeline that refuses a config which ZenML would partly ignore, in one sentence a typo deserves."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ConfigDict, ValidationError, create_model
from zenml.client import Client
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker
from zenml.pipelines.pipeline_definition import Pipeline

from figment import store
from figment.errors import InputError
from figment.ops import lineage
from figment.ops.steps import named
from figment.ops.tracking import ensure_experiment


class CheckedPipeline(Pipeline):
    """Checks its config file before compiling: top-level keys, parameters down to nested fields, and step names. With a store
    (``figment.store``) its steps know of it, wherever they run."""

    def _compile(self, config_path: str | None = None, **overrides: Any) -> Any:
        if config_path:
            parameters = check_config(Path(config_path), self.entrypoint, self.invocations)
            if store.url():
                offer(parameters, Path(config_path))
        if store.url():
            self.configure(environment={store.VARIABLE: store.url(), **lineage.revision()})
        tracker = Client().active_stack.experiment_tracker
        if isinstance(tracker, MLFlowExperimentTracker):
            ensure_experiment(self.name, tracker.get_tracking_uri())
        return super()._compile(config_path=config_path, **overrides)


def offer(parameters: Mapping[str, Any], config: Path) -> None:
    """Send the files below artifacts/ that a config names, such as a review.csv. Raises InputError if the output would not be
    in the store."""
    output = parameters.get("output")
    if output and not str(output).startswith(f"{store.FOLDER}/"):
        raise InputError(
            f"{config}: parameters.output is {str(output)!r}; with {store.VARIABLE} it has to begin with {store.FOLDER}/"
        )
    for path in named(parameters):
        if path.is_file():
            store.push(path)


def figment_pipeline(function: Callable[..., None]) -> CheckedPipeline:
    """Decorator: a pipeline named after the function. Its steps keep their own books on what is done (``ops.caching``)."""
    return CheckedPipeline(name=function.__name__, entrypoint=function, enable_cache=False)


def check_config(path: Path, entrypoint: Callable[..., None], steps: Iterable[str] | None = None) -> dict[str, Any]:
    """The parameters of a pipeline config, validated; raises InputError naming the file, the field and what is near."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not readable YAML ({' '.join(str(error).split())})") from error
    _known(config, PipelineRunConfiguration.model_fields, f"{path}")
    if steps is not None:
        _known(config.get("steps") or {}, steps, f"{path}: steps")
    parameters = config.get("parameters") or {}
    signature = inspect.signature(entrypoint)
    _known(parameters, signature.parameters, f"{path}: parameters")
    fields: dict[str, Any] = {
        name: (p.annotation, ... if p.default is inspect.Parameter.empty else p.default)
        for name, p in signature.parameters.items()
    }
    model = create_model("parameters", __config__=ConfigDict(extra="forbid", protected_namespaces=()), **fields)
    try:
        model.model_validate(parameters)
    except ValidationError as error:
        raise InputError(f"{path}: parameters.{_sentence(error, model)}") from error
    return parameters


def _known(found: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name in found:
        if name not in known:
            hint = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
            right = f"did you mean {hint[0]!r}?" if hint else f"known are {', '.join(known)}"
            raise InputError(f"{where}: {name!r} is not known here; {right}")


def _sentence(error: ValidationError, model: Any) -> str:
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a typo explains what is missing, too
    field = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        return f"{field}: {first['msg']}; found {str(first['input'])[:80]!r}"
    models = [model]
    for name in first["loc"][:-1]:
        deeper = [m for parent in models if name in parent.model_fields for m in _models(parent.model_fields[name])]
        models = deeper or models  # a union's tag names no field
    known = {name: None for m in models for name in m.model_fields}
    hint = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
    return f"{field} is not known; " + (f"did you mean {hint[0]!r}?" if hint else f"known are {', '.join(known)}")


def _models(annotation: Any) -> list[Any]:
    """The pydantic models that a field may hold: one, or the members of a union."""
    annotation = getattr(annotation, "annotation", annotation)
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for member in get_args(annotation) for model in _models(member)]
