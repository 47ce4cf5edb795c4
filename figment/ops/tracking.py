"""MLflow: one run a pipeline run, shared by its tracked steps; a metric is called ``<stage>/<what>``."""

import base64
import contextlib
import hashlib
import io
import json
import logging
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import psutil
import torch
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import Map
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from PIL import Image
from torch import nn
from zenml.exceptions import RunInterruptedException

from figment.images import Resize, data_uri, encode
from figment.ops.artifacts import note, show_page
from figment.text import reason_of

ARTIFACTS = Path(".figment/mlartifacts")
AT_ONCE = 1000  # metrics, MLflow's own limit
NO_STEP = -1  # else MLflow would call all metrics of the run so far the model's
NOTED = 100  # numbers of a stage, as metadata of its step in ZenML
PROCESS = "figment.process"  # a run's tag
FORBIDDEN = re.compile(r"[^\w.\- /:]|^[./]|//|/\.|/$")  # in a parameter's name
logger = logging.getLogger(__name__)
_open: dict[str, str] = {}  # the pipeline's MLflow run in this process, and where it is tracked


def ensure_experiment(name: str, tracking_uri: str, description: str = "") -> None:
    """On a database without a server, create the experiment with its artifacts inside the clone: MLflow's own default
    would follow the working directory. MLflow's pages then show it as one of trainings, not of chat agents."""
    client = mlflow.MlflowClient(tracking_uri)
    if tracking_uri.startswith("sqlite") and client.get_experiment_by_name(name) is None:
        try:
            tags = {MLFLOW_RUN_NOTE: description, "mlflow.experimentKind": "custom_model_development"}
            client.create_experiment(name, artifact_location=ARTIFACTS.resolve().as_uri(), tags=tags)
        except MlflowException:
            if client.get_experiment_by_name(name) is None:  # else another run has just created it
                raise


def note_run() -> bool:
    """At the beginning of a step: the pipeline's MLflow run is under way until the pipeline ends, though ZenML calls it finished
    after each tracked step. It notes the process that works on it. Returns whether this process sees the run first."""
    run = mlflow.active_run()
    if run is None:
        for run_id, uri in _open.items():
            mlflow.MlflowClient(uri).update_run(run_id, status="RUNNING")
        return False
    first = run.info.run_id not in _open
    if first:
        mlflow.set_tag(PROCESS, _process())
    _open[run.info.run_id] = mlflow.get_tracking_uri()
    return first


def end_runs(status: str) -> None:
    """Say how the pipeline ended: FINISHED, FAILED or KILLED, in the MLflow runs that its steps noted in this process."""
    for run_id, uri in _open.items():
        try:
            mlflow.MlflowClient(uri).set_terminated(run_id, status)
        except Exception as error:  # the pipeline has ended, and may have because of the same fault
            logger.warning("MLflow run %s could not be marked %s: %s", run_id, status, reason_of(error))
    _open.clear()


@contextlib.contextmanager
def classifier(name: str) -> Iterator[None]:
    """Within a tracked step, what is logged meanwhile goes to the child run of this classifier (a trick, a set, a method): all
    have the same metrics' names, so that MLflow compares classifiers as it compares runs. Ends as what is done in it ends."""
    parent = mlflow.active_run()
    if parent is None:
        yield
        return
    within = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'"
    children = mlflow.MlflowClient().search_runs([parent.info.experiment_id], within, max_results=AT_ONCE)
    known = next((child.info.run_id for child in children if child.info.run_name == name), None)
    mlflow.start_run(known, parent.info.experiment_id, name, nested=True, log_system_metrics=False)
    status = "FAILED"
    try:
        if not known:
            mlflow.set_tag(PROCESS, _process())
            mlflow.log_param("classifier", name)
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, RunInterruptedException):  # the latter: ZenML's signal handler
        status = "KILLED"
        raise
    finally:
        mlflow.end_run(status)


def log_headline(metrics: Mapping[str, float], rows: Sequence[Mapping[str, Any]]) -> None:
    """Of the whole run: the metrics by which runs are ranked, without a stage's name so that they come first; and the table of
    all that was compared, also as the run's description."""
    mlflow.log_metrics({name.replace("@", "_at_"): float(value) for name, value in metrics.items()})
    note({"results": {name: float(value) for name, value in metrics.items()}}, of_run=True)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    mlflow.log_table({column: [row.get(column) for row in rows] for column in columns}, "results.json")
    cells = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    mlflow.set_tag(MLFLOW_RUN_NOTE, "\n".join(f"| {' | '.join(line)} |" for line in cells))


def log_sets(headline: str, metrics: Mapping[str, float]) -> None:
    """``SET/MEASURE`` of one classifier on several sets of images, of which ``headline`` comes first as MEASURE."""
    tracked = {name: value for name, value in metrics.items() if "/" in name}
    sets = dict.fromkeys(name.rpartition("/")[0] for name in tracked)
    rows = [{n.rpartition("/")[2]: v for n, v in tracked.items() if n.rpartition("/")[0] == each} for each in sets]
    log_metrics("evaluation", metrics)
    named = [{"images": each, **row} for each, row in zip(sets, rows, strict=True)]
    log_headline({headline.rpartition("/")[2]: metrics[headline]} if headline in metrics else {}, named)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|")


def close_dead_runs(experiment: str, tracking_uri: str) -> None:
    """In a database without a server, mark as KILLED the runs whose process on this machine is gone."""
    if not tracking_uri.startswith("sqlite"):
        return
    client = mlflow.MlflowClient(tracking_uri)
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


def log_parameters(values: Mapping[str, Any]) -> None:
    """Every leaf of a run's config, by its dotted name."""
    mlflow.log_params(parameters(values))


def parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """The leaves by which a run is found and compared: ``epochs`` beside ``steps`` that replace them decided nothing."""
    leaves = flatten(values)
    replaced = {
        name for name in leaves if name.endswith(".epochs") and leaves.get(f"{name[:-6]}steps", "None") != "None"
    }
    return {name: value for name, value in leaves.items() if name not in replaced}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The leaves of nested mappings as text, by dotted names that MLflow takes; lists are joined, and what is long ends with its
    digest."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
            continue
        if isinstance(value, list | tuple) and value:
            plain = not any(isinstance(item, Mapping | list | tuple) for item in value)
            value = ", ".join(map(str, value)) if plain else json.dumps(value, ensure_ascii=False, default=str)
        allowed = FORBIDDEN.sub("_", name)
        flat[_shortened(name if allowed == name else f"{allowed} {text_digest(name)}", 250)] = _shortened(
            str(value), 500
        )
    return flat


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 30]}... {text_digest(text)}"


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def log_metrics(stage: str, values: Mapping[str, float], step: int | None = None) -> None:
    """MLflow allows no ``@`` in a name, as of ``P@3``."""
    named = {f"{stage}/{name}".replace("@", "_at_"): float(value) for name, value in values.items()}
    mlflow.log_metrics(named, step=step)
    if step is None and 0 < len(values) <= NOTED:
        note({stage: {name: float(value) for name, value in values.items()}})


@contextlib.contextmanager
def curve(stage: str, every_seconds: float = 30.0) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Takes what is measured on the way, (step, metrics), to MLflow by ``log_curve``, from time to time and at the end."""
    points: list[tuple[int, Mapping[str, float]]] = []
    due = time.monotonic() + every_seconds

    def log(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal due
        points.append((step, dict(metrics)))
        if time.monotonic() > due:
            flush()
            due = time.monotonic() + every_seconds

    def flush() -> None:
        log_curve(stage, points)
        points.clear()

    try:
        yield log
    finally:
        flush()


def log_curve(stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """``log_metrics`` of many steps at once: a curve is one write to the database, not hundreds."""
    now, run = int(time.time() * 1000), mlflow.active_run()
    metrics = [
        Metric(f"{stage}/{name}".replace("@", "_at_"), float(v), now, step)
        for step, values in points
        for name, v in values.items()
    ]
    for first in range(0, len(metrics), AT_ONCE):
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics[first : first + AT_ONCE])


def log_file(path: Path, folder: str | None = None) -> None:
    mlflow.log_artifact(str(path), folder)


def log_image(image: Image.Image, name: str) -> None:
    mlflow.log_image(image, name)
    shown = data_uri(encode(np.asarray(image.convert("RGB")), "png"), "png")
    show_page(Path(name).stem, f'<img src="{shown}">')


class ImageSet(Dataset):
    """Images as MLflow lists what a run used: how many, how many of each class (an image of several counts in each), and what
    brings them back, such as a path, its DVC hash and the git commit."""

    def __init__(
        self,
        name: str,
        digest: str,
        source: Mapping[str, str],
        images: int = 0,
        by_class: Mapping[str, int] | None = None,
    ):
        self._profile = {"num_rows": images, "classes": dict(by_class or {})} if images else None
        super().__init__(CodeDatasetSource(dict(source)), name, digest[:36])  # all of DVC's, which MLflow keeps

    def _compute_digest(self) -> str:
        return text_digest(json.dumps([self._profile, self._source.to_dict()], sort_keys=True))

    @property
    def profile(self) -> dict[str, Any] | None:
        return self._profile

    @property
    def schema(self) -> None:
        return None

    def to_dict(self) -> dict[str, str]:
        return super().to_dict() | ({"profile": json.dumps(self._profile)} if self._profile else {})


def log_images(images: ImageSet, context: str) -> None:
    """Name images that the run used (``context``: training, evaluation) or made."""
    mlflow.log_input(images, context=context)


def tag(values: Mapping[str, str]) -> None:
    mlflow.set_tags(dict(values))


def register_classifier(
    model: nn.Module,
    labels: Sequence[str],
    preparation: tuple[int, Resize, int | None],
    name: str,
    card: Path | None = None,
) -> str:
    """Log the classifier with signature, input example, labels, how images of other sizes become square (size, way and native
    size, as ``figment.images.to_tensor`` takes them), and model card; register it.

    Exported by torch (no pickle), batch dimension free; ``figment.ops.served`` answers for it. Returns the registered version.
    """
    size, resize, native_size = preparation
    example = np.random.default_rng(0).random((4, 3, size, size), dtype=np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 3, size, size))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(labels)))]),
    )
    answer = Schema([ColSpec("string", "label"), ColSpec("double", "score"), ColSpec(Map("double"), "scores")])
    prepared = {"labels": list(labels), "image_size": size, "resize": resize, "native_size": native_size}
    grey = io.BytesIO()
    Image.new("RGB", (size, size), "grey").save(grey, "PNG")
    needs = [
        f"torch=={torch.__version__.split('+')[0]}",
        "torchvision",
        "timm",
    ]  # else a process is started to find them
    with TemporaryDirectory() as folder:
        network = Path(folder) / "network"
        mlflow.pytorch.save_model(
            model.eval(), network, signature=signature, input_example=example, pip_requirements=needs
        )
        info = mlflow.pyfunc.log_model(
            name="classifier",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"network": str(network)} | ({"card": str(card)} if card else {}),
            model_config=prepared,
            signature=ModelSignature(outputs=answer),
            input_example=[base64.b64encode(grey.getvalue()).decode()],
            pip_requirements=needs,
            registered_model_name=name,
            metadata=prepared,
            step=NO_STEP,
        )
    mlflow.log_metrics(_headline(), model_id=info.model_id)
    version = str(info.registered_model_version)
    if card:
        mlflow.MlflowClient().update_model_version(name, version, card.read_text(encoding="utf-8"))
    return version


def _headline() -> dict[str, float]:
    """What ``log_headline`` said of this run."""
    metrics = mlflow.get_run(mlflow.active_run().info.run_id).data.metrics
    return {name: value for name, value in metrics.items() if "/" not in name}


def log_confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """The confusion matrix as a table: row the true class, column the predicted one."""
    columns: dict[str, list[Any]] = {"true class": list(labels)}
    columns |= {label: [line[i] for line in matrix] for i, label in enumerate(labels)}
    mlflow.log_table(columns, "confusion.json")
