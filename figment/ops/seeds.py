"""One pipeline under several seeds: every number as a mean with its interval, and one MLflow run above those of the seeds.

Everything that is drawn follows the seed, in the pipeline and in the configs of its stages. ``data`` does not: all seeds are
measured on the same images; nor does a chat model, which is asked once.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import yaml
from pydantic import BaseModel
from rich.table import Table
from zenml.client import Client

from figment.errors import InputError
from figment.evaluation.seeds import Mean, mean
from figment.files import write_json, write_text
from figment.keys import jsonable
from figment.ops.checking import models_of, parameters_model, read_config
from figment.ops.lineage_file import LINEAGE, Lineage
from figment.reading import read_artifact
from figment.types import expanded

SHARED = ("data", "real", "chat")  # the same for every seed
SUMMARY = "seeds.json"


def run_seeds(
    entrypoint: Callable[..., None], config: Path, seeds: Sequence[int], run: Callable[[Path, Path], None]
) -> dict[str, Mean]:
    """``run`` the config once a seed, into OUTPUT/seed_N, and gather metrics.json of all in OUTPUT/seeds.json and in an MLflow
    run of which theirs are children. A seed that was finished before repeats nothing."""
    if len(set(seeds)) < 2 or min(seeds) < 0 or max(seeds) >= 2**63:
        found = ", ".join(map(str, seeds))
        raise InputError(f"--seeds: found {found}; give two or more different numbers from 0 to 2**63 - 1")
    body = read_config(config)
    output = Path(expanded(body["parameters"]["output"]))
    measured, children = [], []
    for seed in seeds:
        folder = output / f"seed_{seed}"
        parameters = with_seed(body["parameters"], entrypoint, seed) | {"output": folder.as_posix()}
        file = output / f"seed_{seed}.yaml"
        write_text(file, yaml.safe_dump({**body, "parameters": parameters}, sort_keys=False, allow_unicode=True))
        run(file, folder)
        measured.append(read_artifact(folder / "metrics.json", dict[str, float]))
        children += [read_artifact(found, Lineage).mlflow_run for found in sorted(folder.rglob(LINEAGE))]
    summary = summarise(measured)
    write_json(output / SUMMARY, {"seeds": list(seeds), "metrics": {n: m._asdict() for n, m in summary.items()}})
    log_parent(children, seeds, summary, output / SUMMARY)
    return summary


def with_seed(parameters: Mapping[str, Any], entrypoint: Callable[..., None], seed: int) -> dict[str, Any]:
    """The parameters with this seed, at the top and in every config within them that has one."""
    return {**_seeded(parameters, [parameters_model(entrypoint)], seed), "seed": seed}


def _seeded(values: Mapping[str, Any], models: Sequence[Any], seed: int) -> dict[str, Any]:
    """A config of one of these models with this seed, in the configs within it too, also in those that are left out."""
    meant = [m.model_fields for m in models if values.get("kind") in (None, *_kind_of(m))]
    changed = dict(values)
    for name, field in ((name, field) for fields in meant for name, field in fields.items() if name not in SHARED):
        left_out = jsonable(field.default) if isinstance(field.default, BaseModel) else None
        given = values.get(name, left_out)
        if name == "seed":
            changed[name] = seed
        elif isinstance(given, Mapping) and (seeded := _seeded(given, models_of(field), seed)) != given:
            changed[name] = seeded
    return changed


def _kind_of(model: Any) -> list[str]:
    return [model.model_fields["kind"].default] if "kind" in model.model_fields else []


def summarise(found: Sequence[Mapping[str, float]]) -> dict[str, Mean]:
    """Of the measures that every seed has."""
    shared = [name for name in found[0] if all(name in metrics for metrics in found)]
    return {name: mean([metrics[name] for metrics in found]) for name in shared}


def log_parent(children: Sequence[str], seeds: Sequence[int], summary: Mapping[str, Mean], file: Path) -> None:
    """A run with the means and both ends of their intervals, in its children's experiment."""
    tracker = Client().active_stack.experiment_tracker
    mlflow.set_tracking_uri(tracker.get_tracking_uri())  # ZenML forgets it after a run
    client = mlflow.MlflowClient()
    experiment = client.get_run(children[0]).info.experiment_id
    named = f"seeds {', '.join(map(str, seeds))}"
    with mlflow.start_run(experiment_id=experiment, run_name=named, log_system_metrics=False) as parent:
        mlflow.set_tag("children", ", ".join(children))
        values = {name.replace("@", "_at_"): found for name, found in summary.items()}  # MLflow allows no @
        for end in Mean._fields:
            suffix = "" if end == "value" else f"/{end}"
            mlflow.log_metrics({f"evaluation/{name}{suffix}": getattr(found, end) for name, found in values.items()})
        mlflow.log_artifact(str(file))
    for child in children:
        client.set_tag(child, "mlflow.parentRunId", parent.info.run_id)


def table(summary: Mapping[str, Mean], seeds: Sequence[int]) -> Table:
    """For a terminal."""
    shown = Table(
        title=f"means of seeds {', '.join(map(str, seeds))} with 95 % Student intervals", title_justify="left"
    )
    for column in ("measure", "mean", "from", "to"):
        shown.add_column(column, justify="left" if column == "measure" else "right", no_wrap=True)
    for name, found in summary.items():
        shown.add_row(name, *(f"{value:.4f}" for value in found))
    return shown
