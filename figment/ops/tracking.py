"""MLflow: one run a pipeline run, shared by its tracked steps; a metric is called ``<stage>/<what>``."""

import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import torch
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from PIL import Image
from torch import nn

from figment.images import Resize
from figment.text import reason_of

ARTIFACTS = Path(".figment/mlartifacts")
AT_ONCE = 1000  # metrics, MLflow's own limit
PROCESS = "figment.process"  # a run's tag
logger = logging.getLogger(__name__)
_open: dict[str, str] = {}  # the pipeline's MLflow run in this process, and where it is tracked


def ensure_experiment(name: str, tracking_uri: str) -> None:
    """On a database without a server, create the experiment with its artifacts inside the clone: MLflow's own default
    would follow the working directory."""
    client = mlflow.MlflowClient(tracking_uri)
    if tracking_uri.startswith("sqlite") and client.get_experiment_by_name(name) is None:
        try:
            client.create_experiment(name, artifact_location=ARTIFACTS.resolve().as_uri())
        except MlflowException:
            if client.get_experiment_by_name(name) is None:  # else another run has just created it
                raise


def note_run() -> None:
    """At the beginning of a step: the pipeline's MLflow run is under way until the pipeline ends, though ZenML calls it finished
    after each tracked step. It notes the process that works on it."""
    if run := mlflow.active_run():
        if run.info.run_id not in _open:
            mlflow.set_tag(PROCESS, _process())
        _open[run.info.run_id] = mlflow.get_tracking_uri()
    else:
        for run_id, uri in _open.items():
            mlflow.MlflowClient(uri).update_run(run_id, status="RUNNING")


def end_runs(status: str) -> None:
    """Say how the pipeline ended: FINISHED, FAILED or KILLED, in the MLflow runs that its steps noted in this process."""
    for run_id, uri in _open.items():
        try:
            mlflow.MlflowClient(uri).set_terminated(run_id, status)
        except Exception as error:  # the pipeline has ended, and may have because of the same fault
            logger.warning("MLflow run %s could not be marked %s: %s", run_id, status, reason_of(error))
    _open.clear()


def close_dead_runs(experiment: str) -> None:
    """Mark as KILLED the runs whose process on this machine is gone."""
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    for run in client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'") if found else ():
        host, number = [*run.data.tags.get(PROCESS, "").split(" "), "", ""][:2]
        if host == platform.node() and number.isdecimal() and _process(int(number)) != run.data.tags[PROCESS]:
            client.set_terminated(run.info.run_id, "KILLED")


def _process(number: int | None = None) -> str:
    """A process of this machine, by default this one: its number, and the time of its start, since numbers come again."""
    try:
        return f"{platform.node()} {number or os.getpid()} {psutil.Process(number).create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def log_parameters(stage: str, values: Mapping[str, Any]) -> None:
    """Flat parameters of a stage; nested mappings become dotted names."""
    mlflow.log_params({f"{stage}.{name}": value for name, value in _flatten(values).items()})


def log_metrics(stage: str, values: Mapping[str, float], step: int | None = None) -> None:
    mlflow.log_metrics({f"{stage}/{name}": float(value) for name, value in values.items()}, step=step)


def log_curve(stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """``log_metrics`` of many steps at once: a curve is one write to the database, not hundreds."""
    now, run = int(time.time() * 1000), mlflow.active_run()
    metrics = [Metric(f"{stage}/{name}", float(v), now, step) for step, values in points for name, v in values.items()]
    for first in range(0, len(metrics), AT_ONCE):
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics[first : first + AT_ONCE])


def log_file(path: Path, folder: str | None = None) -> None:
    mlflow.log_artifact(str(path), folder)


def log_image(image: Image.Image, name: str) -> None:
    mlflow.log_image(image, name)


def log_dataset(path: Path, digest: str, context: str) -> None:
    """Name an input or product of the run by its hash, of which MLflow keeps 36 characters: all of DVC's."""
    source = mlflow.data.from_numpy(np.zeros(0), source=path.as_posix(), name=path.name, digest=digest[:36])
    mlflow.log_input(source, context=context)


def tag(values: Mapping[str, str]) -> None:
    mlflow.set_tags(dict(values))


def register_classifier(
    model: nn.Module,
    image_size: int,
    labels: Sequence[str],
    resize: Resize,
    name: str,
    card: Path | None = None,
) -> str:
    """Log the classifier with signature, input example, labels, how pictures of other sizes become square, and model card;
    register it.

    Exported by torch (no pickle), batch dimension free. Returns the registered version.
    """
    example = np.random.default_rng(0).random((4, 3, image_size, image_size), dtype=np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 3, image_size, image_size))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(labels)))]),
    )
    info = mlflow.pytorch.log_model(
        model.eval(),
        name="classifier",
        signature=signature,
        input_example=example,
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", "torchvision", "timm"],
        registered_model_name=name,
        extra_files=[str(card)] if card else None,
        metadata={"labels": list(labels), "resize": resize},
    )
    version = str(info.registered_model_version)
    if card:
        mlflow.MlflowClient().update_model_version(name, version, card.read_text(encoding="utf-8"))
    return version


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return flat


def log_confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """The confusion matrix as a table: row the true class, column the predicted one."""
    columns: dict[str, list[Any]] = {"true class": list(labels)}
    columns |= {label: [line[i] for line in matrix] for i, label in enumerate(labels)}
    mlflow.log_table(columns, "confusion.json")
