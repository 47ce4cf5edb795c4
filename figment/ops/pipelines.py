"""A ZenML pipeline that refuses a config which ZenML would partly ignore, in one sentence a typo deserves."""

import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import click
import yaml
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from zenml import Model
from zenml.client import Client
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.config.step_configurations import StepConfigurationUpdate
from zenml.enums import ExecutionMode
from zenml.exceptions import RunInterruptedException
from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker
from zenml.pipelines.compilation_context import PipelineCompilationContext
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.utils.source_utils import set_custom_source_root

from figment import store
from figment.errors import InputError
from figment.evaluation.verdict import SUMMARY
from figment.files import check_writable
from figment.ops import lineage, tracking
from figment.ops.checking import complaint, parameters_model, read_config, refuse_unknown
from figment.ops.databases import repository
from figment.ops.endings import ended
from figment.ops.shots import gather, runs_of
from figment.ops.stack import prepare
from figment.ops.stacks_file import check_fields, check_run_settings
from figment.ops.stacks_steps import merge, with_stack
from figment.ops.steps import named
from figment.ops.summary import print_results
from figment.ops.tracking import close_dead_runs, end_runs, ensure_experiment
from figment.text import shown
from figment.validation.review import REVIEW

if repository() != Path():  # ZenML would look for the code beside its notes
    set_custom_source_root(str(Path.cwd()))


class CheckedPipeline(Pipeline):
    """Checks its config file before compiling: top-level keys, parameters down to nested fields, and step names. Each step is
    compiled with what the active stack's file asks for it; with a store (``figment.store``) it knows of that wherever it
    runs.

    However it is called, the stack is prepared first; what fails is raised as the InputError at its bottom, if there is one;
    MLflow's run says how it ended, the terminal what it found. Called by ``zenml pipeline run`` it ends as Figment's own
    commands do."""

    _output: Path | None = None  # the run's folder, if a config names one

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if PipelineCompilationContext.is_active():  # within another pipeline
            return super().__call__(*args, **kwargs)
        if click.get_current_context(silent=True) is None:
            return self._prepared_run(*args, **kwargs)

        def work() -> None:
            check_environment()
            self._prepared_run(*args, **kwargs)

        if code := ended(work):
            sys.exit(code)
        return None

    def _prepared_run(self, *args: Any, **kwargs: Any) -> Any:
        config = self._run_args.get("config_path")
        files = runs_of(Path(config)) if config else ()
        runs = [figment_pipeline(self.entrypoint).with_options(config_path=str(file))._prepared_run() for file in files]
        if runs:
            print_results(gather(Path(config)))
            return runs[-1]
        prepare()
        failed = FailedStep()
        orchestrator, launcher = (
            logging.getLogger(f"zenml.orchestrators.{name}") for name in ("local.local_orchestrator", "step_launcher")
        )
        orchestrator.addFilter(failed)
        launcher.addFilter(not_a_failure)
        status = "FAILED"
        try:
            result = super().__call__(*args, **kwargs)
            status = "FINISHED"
            if self._output:
                store.bring([self._output / SUMMARY])  # of a run elsewhere no more than this
                print_results(self._output)
            return result
        except Exception as error:
            cause = root_cause(failed.error or error)
            if isinstance(cause, RunInterruptedException | KeyboardInterrupt):  # the first: ZenML's signal handler
                status = "KILLED"
                raise KeyboardInterrupt from None
            raise cause from None
        except BaseException:
            status = "KILLED"
            raise
        finally:
            orchestrator.removeFilter(failed)
            launcher.removeFilter(not_a_failure)
            end_runs(status)

    def _parse_config_file(self, config_path: str | None, matcher: list[str]) -> dict[str, Any]:
        """ZenML reads the file by itself, twice: what it gets is plain YAML in ASCII, whatever the user's editor wrote."""
        if not config_path:
            return super()._parse_config_file(config_path, matcher)
        with NamedTemporaryFile("w", encoding="ascii", suffix=".yaml") as file:
            yaml.safe_dump(read_config(Path(config_path)), file, sort_keys=False)
            file.flush()
            return super()._parse_config_file(file.name, matcher)

    def _compile(self, config_path: str | None = None, **overrides: Any) -> Any:
        config: dict[str, Any] = {}
        if config_path:
            parameters = check_config(Path(config_path), self.entrypoint, self.invocations)
            config = read_config(Path(config_path))
            given = tracking.parameters(to_jsonable_python(parameters))
            self.configure(extra={lineage.PARAMETERS: given, **(config.get("extra") or {})}, merge=False)
            if not (overrides.get("run_name") or config.get("run_name")):
                overrides["run_name"] = run_name(self.name, Path(config_path))
            self._output = Path(parameters["output"]) if "output" in parameters else None
            self.configure(tags=list(dict.fromkeys((self.name, Path(config_path).stem))), merge=False)
            if name := parameters.get("register_as"):  # MLflow's registry is written by the step register_model
                self.configure(model=Model(name=name, save_models_to_registry=False))
            if store.url():
                offer(parameters, Path(config_path))
        if store.url():
            self.configure(environment={store.VARIABLE: store.url(), **lineage.revision()})
        config = merge(config, {key: overrides[key] for key in ("settings", "steps") if overrides.get(key)})
        tracker = Client().active_stack.experiment_tracker
        if isinstance(tracker, MLFlowExperimentTracker):
            tracker.configure_mlflow()
            described = (sys.modules[self.entrypoint.__module__].__doc__ or "").partition("\n\n")[0]
            ensure_experiment(self.name, tracker.get_tracking_uri(), described)
            close_dead_runs(self.name, tracker.get_tracking_uri())
        if ExecutionMode.STOP_ON_FAILURE in Client().active_stack.orchestrator.supported_execution_modes:
            self.configure(execution_mode=ExecutionMode.STOP_ON_FAILURE)  # no one waits for what no longer helps
        names = {invocation: called.step.name for invocation, called in self.invocations.items()}
        overrides |= with_stack(Client().active_stack_model, names, config)
        return super()._compile(config_path=config_path, **overrides)


def run_name(recipe: str, config: Path) -> str:
    """What ZenML and MLflow call a run: its recipe, and its config with the folder of that."""
    config = config.absolute()
    parts = dict.fromkeys((recipe, config.parent.name, config.stem))
    return re.sub(r"[^\w.-]+", "_", "-".join(filter(None, parts)))[:150] + "-{date}-{time}"


def check_environment() -> None:
    """Raises InputError if this process was started without the variables of .env: ZenML has opened another database then."""
    if "ZENML_CONFIG_PATH" not in os.environ:
        raise InputError("the variables of .env are not set; run `source activate.sh`, then the same command again")


class FailedStep(logging.Filter):
    """Keeps the exception that ZenML logs, and then forgets, when a step fails; it is told once, by who called the pipeline."""

    error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            self.error = record.exc_info[1]
        return self.error is None


def not_a_failure(record: logging.LogRecord) -> bool:
    """Whether a record is none of those by which ZenML logs, a second time, that a step failed."""
    return not record.msg.startswith("Failed to run step")


def root_cause(error: BaseException) -> BaseException:
    """The InputError that a chain of exceptions goes back to, or the interrupt, or else the exception itself: a library may
    wrap in an error of its own what struck while it worked."""
    links = [error]
    while link := links[-1].__cause__ or links[-1].__context__:
        links.append(link)
    for kind in (InputError, RunInterruptedException, KeyboardInterrupt):
        found = [link for link in links if isinstance(link, kind)]
        if found:
            return found[0]
    return error


def offer(parameters: Mapping[str, Any], config: Path) -> None:
    """Send the files below artifacts/ that a config names, and its run's review.csv. Raises InputError if the output would not be
    in the store."""
    output = parameters.get("output")
    if output and not str(output).startswith(f"{store.FOLDER}/"):
        raise InputError(
            f"{config}: parameters.output is {str(output)!r}; with {store.VARIABLE} it has to begin with {store.FOLDER}/"
        )
    for path in [*named(parameters), *([Path(str(output), REVIEW)] if output else [])]:
        if path.is_file():
            store.push(path)


def figment_pipeline(function: Callable[..., None]) -> CheckedPipeline:
    """Decorator: a pipeline named after the function, whose parameters are the fields of the one config that it
    takes. Its steps keep their own books on what is done (``ops.caching``)."""
    return CheckedPipeline(name=function.__name__, entrypoint=with_fields(function), enable_cache=False)


def with_fields(function: Callable[..., None]) -> Callable[..., None]:
    """The function of a config as a function of the config's fields; one that is so already as it is."""
    if hasattr(function, "recipe"):
        return function
    recipe = parameters_model(function)

    def entrypoint(**parameters: Any) -> None:
        function(recipe(**parameters))

    entrypoint.__name__, entrypoint.__doc__, entrypoint.__module__ = (
        function.__name__,
        function.__doc__,
        function.__module__,
    )
    entrypoint.__signature__ = inspect.signature(recipe)  # type: ignore[attr-defined]
    entrypoint.recipe = recipe  # type: ignore[attr-defined]
    return entrypoint


def check_config(path: Path, entrypoint: Callable[..., None], steps: Iterable[str] | None = None) -> dict[str, Any]:
    """The parameters of a pipeline config, validated; raises InputError naming the file, the field and what is near. All that is
    wrong is told by ``figment check`` (``figment.ops.config_check``)."""
    config = read_config(path)
    check_top(config, path)
    parameters = config.get("parameters") or {}
    refuse_unknown(parameters, inspect.signature(entrypoint).parameters, f"{path}: parameters")
    model = parameters_model(entrypoint)
    try:
        checked = model.model_validate(parameters)
    except ValidationError as error:
        raise InputError(f"{path}: parameters.{complaint(error, model)}") from error
    check_run(config, steps, path)
    values = {name: getattr(checked, name) for name in model.model_fields}
    if "output" in values:
        check_writable(Path(values["output"]), f"{path}: parameters.output")
    return values


def check_top(config: dict[str, Any], path: Path) -> None:
    """Raise InputError for a key at the top of a config that ZenML does not know."""
    refuse_unknown(config, PipelineRunConfiguration.model_fields, f"{path}")


def check_run(config: dict[str, Any], steps: Iterable[str] | None, path: Path) -> None:
    """Refuse what ZenML would ignore, or find out late, of a config beside its parameters."""
    settings, configured = config.get("settings") or {}, config.get("steps") or {}
    if steps is not None:
        refuse_unknown(configured, steps, f"{path}: steps")
    rest = {key: value for key, value in config.items() if key not in ("parameters", "settings", "steps")}
    check_fields(PipelineRunConfiguration, rest, f"{path}")
    check_run_settings(settings, f"{path}: settings")
    for name, asked in configured.items():
        where = f"{path}: steps.{name}"
        if not isinstance(asked, dict):
            raise InputError(f"{where}: found {shown(asked)}; expected keys with values, such as 'enable_cache: false'")
        if asked.get("parameters"):
            raise InputError(
                f"{where}.parameters: found {shown(asked['parameters'])}; a step takes its values from the pipeline, whose types "
                "bound them: give them below 'parameters' of the config"
            )
        check_fields(StepConfigurationUpdate, {**asked, "settings": {}}, where)
        check_run_settings(asked.get("settings") or {}, f"{where}.settings")
