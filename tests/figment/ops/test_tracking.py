"""What MLflow is told, read back from a real database."""

import copy
import importlib
import json
import re
from pathlib import Path

import mlflow
import pytest
import torch
import yaml
from pydantic_core import to_jsonable_python
from zenml.exceptions import RunInterruptedException

from figment.ops import tracking
from figment.ops.pipelines import check_config, run_name

CONFIGS = sorted(path for path in Path("configs").rglob("*.yaml") if path.parts[1] not in ("labels", "stacks"))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    experiment = mlflow.create_experiment("tracking", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=experiment)  # in place of one that an earlier test left
    yield experiment
    mlflow.set_tracking_uri(before)


@pytest.fixture
def run(experiment):
    with mlflow.start_run(experiment_id=experiment, log_system_metrics=False) as run:
        yield run


class Flat(torch.nn.Module):
    """Knows nothing."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))[:, :2] * 0 + 0.5


def test_images_are_listed_with_their_classes_and_what_brings_them_back(run):
    source = {"path": "artifacts/r/images", "dvc.md5": "m.dir", "mlflow.source.git.commit": "c"}
    combined = tracking.ImageSet("combined", "d" * 64, source, 4, {"car": 3, "frog": 2})
    tracking.log_images(combined, "training")
    tracking.log_images(tracking.ImageSet("data", "e" * 32 + ".dir", source), "evaluation")
    found = {item.dataset.name: item for item in mlflow.get_run(run.info.run_id).inputs.dataset_inputs}
    combined, data = found["combined"].dataset, found["data"].dataset
    assert json.loads(combined.profile) == {"num_rows": 4, "classes": {"car": 3, "frog": 2}}
    assert (combined.digest, data.digest) == ("d" * 36, "e" * 32 + ".dir")
    assert json.loads(combined.source) == {"tags": source}
    assert data.profile is None
    assert [tag.value for tag in found["combined"].tags if tag.key == "mlflow.data.context"] == ["training"]


def test_a_model_has_the_headline_as_its_metrics_and_no_others(run):
    tracking.log_metrics("synthesis", {"rendered": 32})
    tracking.log_headline({"accuracy": 0.5}, [])
    version = tracking.register_classifier(Flat(), ["a", "b"], (8, "squash", None), "flat")
    model = mlflow.get_logged_model(mlflow.models.get_model_info(f"models:/flat/{version}").model_id)
    assert {metric.key: metric.value for metric in model.metrics} == {"accuracy": 0.5}


def leaves(values, prefix="") -> dict[str, object]:
    found = {}
    for name, value in values.items():
        nested = isinstance(value, dict) and value
        found |= leaves(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_leaf_of_a_shipped_config_is_a_parameter(path, run):
    module, name = re.match(r"# zenml pipeline run (\S+)\.(\w+) -c", path.read_text()).groups()
    checked = to_jsonable_python(check_config(path, getattr(importlib.import_module(module), name).entrypoint))
    tracking.log_parameters(checked)
    logged = mlflow.get_run(run.info.run_id).data.params
    wanted = leaves(checked)
    replaced = {"training.epochs"} if wanted.get("training.steps") is not None else set()
    assert logged.keys() == wanted.keys() - replaced
    for key, value in leaves(yaml.safe_load(path.read_text())["parameters"]).items():
        if key in replaced or isinstance(value, list | dict | str):
            continue
        assert logged[key] == str(wanted[key]), key
        assert isinstance(value, bool | None) or float(logged[key]) == float(value), key
    if "classes" in wanted:
        assert logged["classes"].startswith(", ".join(wanted["classes"])[:400])


def test_two_runs_that_differ_in_guidance_differ_in_that_parameter_alone(experiment):
    values = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())["parameters"]
    found = []
    for guidance in (4.0, 2.0):
        values = copy.deepcopy(values)
        values["generator"]["guidance_scale"] = guidance
        with mlflow.start_run(experiment_id=experiment, log_system_metrics=False) as run:
            tracking.log_parameters(values)
        found.append(mlflow.get_run(run.info.run_id).data.params)
    differing = {name for name in found[0] if found[0][name] != found[1][name]}
    assert differing == {"generator.guidance_scale"}


def test_long_values_and_names_that_mlflow_refuses_stay_apart(run):
    many = [f"class {i}" for i in range(1000)]
    values = {"classes": many, "unions": {"a@b": 1, "a#b": 2, "../c": 3}, "none": [], "rows": [{"x": 1}]}
    tracking.log_parameters(values)
    tracking.log_parameters(values)  # by the next process of the run
    logged = mlflow.get_run(run.info.run_id).data.params
    assert len(logged) == 6
    assert sorted(value for name, value in logged.items() if name.startswith("unions.")) == ["1", "2", "3"]
    assert (logged["none"], logged["rows"]) == ("[]", '[{"x": 1}]')
    other = tracking.flatten({"classes": [*many[:-1], "another"]})["classes"]
    assert other != logged["classes"]
    assert other[:400] == logged["classes"][:400]
    assert len(other) <= 500


def test_a_run_is_named_by_its_recipe_and_config():
    assert run_name("bag_of_tricks", Path("configs/paper/cifar10.yaml")) == "bag_of_tricks-paper-cifar10-{date}-{time}"
    assert run_name("tailored", Path("configs/pocket/tailored.yaml")) == "tailored-pocket-{date}-{time}"
    assert run_name("tailored", Path("/a {b}/c'd.yaml")) == "tailored-a_b_-c_d-{date}-{time}"


def test_classifiers_are_compared_as_runs_are(experiment):
    with mlflow.start_run(experiment_id=experiment, log_system_metrics=False) as parent:
        for name, top1 in (("base_class", 0.5), ("combined", 0.75)):
            with tracking.classifier(name):
                tracking.log_curve("training", [(1, {"loss": 2.0}), (2, {"loss": 1.0})])
            with tracking.classifier(name):  # in a later step
                tracking.log_metrics("evaluation", {"top1": top1, "P@3": 1.0})
        for name, error in (
            ("failed", ValueError),
            ("stopped", KeyboardInterrupt),
            ("killed", RunInterruptedException),
        ):
            with pytest.raises(error), tracking.classifier(name):
                raise error
        assert mlflow.active_run().info.run_id == parent.info.run_id
        tracking.log_headline(
            {"accuracy": 0.75}, [{"trained on": "a|b", "top1": 0.5}, {"trained on": "c", "images": 3}]
        )
    client = mlflow.MlflowClient()
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    runs = {run.info.run_name: run for run in found}
    statuses = {name: run.info.status for name, run in runs.items()}
    ended = {"failed": "FAILED", "stopped": "KILLED", "killed": "KILLED"}
    assert statuses == {"base_class": "FINISHED", "combined": "FINISHED", **ended}
    metrics = {"training/loss": 1.0, "evaluation/P_at_3": 1.0}
    assert runs["base_class"].data.metrics == metrics | {"evaluation/top1": 0.5}
    assert runs["combined"].data.metrics == metrics | {"evaluation/top1": 0.75}
    assert [p.value for p in client.get_metric_history(runs["combined"].info.run_id, "training/loss")] == [2.0, 1.0]
    whole = client.get_run(parent.info.run_id)
    assert (whole.info.status, whole.data.metrics) == ("FINISHED", {"accuracy": 0.75})
    note = "| trained on | top1 | images |\n| --- | --- | --- |\n| a\\|b | 0.5 |  |\n| c |  | 3 |"
    assert whole.data.tags["mlflow.note.content"] == note
