"""The main job, whole: twice by the runner, once interrupted, and its numbers in every place that shows them."""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic_core import to_jsonable_python
from zenml.client import Client
from zenml.enums import ArtifactType, VisualizationType

from figment.cli import main as figment
from figment.ops import tracking
from figment.ops.pipelines import check_config
from figment.ops.run import main
from figment.ops.versioning import dvc_md5
from figment.synthesis.pool import Pool
from pipelines.bag_of_tricks import bag_of_tricks
from tests.e2e.processes import start
from tests.e2e.servers import BUCKET, s3_server

PIPELINE = "pipelines.bag_of_tricks.bag_of_tricks"
TRACKING = os.environ["MLFLOW_TRACKING_URI"]  # of this worker
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    parameters = config["parameters"]
    parameters.update(classes=["car", "frog", "banana"], images_per_class=10, output=str(folder / "out"))
    parameters["generator"].update(num_inference_steps=8)
    parameters["synthesis"].update(shard_size=16)
    parameters["training"].update(steps=80, batch_size=32)
    parameters["real"].update(test_per_class=40, train_per_class=20)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def output(config) -> Path:
    """The folder of a finished run that was interrupted by Ctrl-C in the middle of synthesis and then run again."""
    output = Path(yaml.safe_load(config.read_text())["parameters"]["output"])
    log = config.parent / "log"
    process = start(PIPELINE, config, str(log))
    deadline = time.monotonic() + 240
    while not list(output.glob("images/*.parquet")) and process.exitcode is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.join(timeout=120)
    assert process.exitcode == 130, log.read_text()[-2000:]
    assert "run the same command again" in log.read_text()
    shards = {path.name: path.read_bytes() for path in output.glob("images/*.parquet")}
    assert 1 <= len(shards) < 8

    assert main([PIPELINE, "-c", str(config)]) == 0
    for name, data in shards.items():
        assert (output / "images" / name).read_bytes() == data
    return output


def test_all_that_was_planned_is_there_and_judged(output):
    plan, verdicts = pq.read_table(output / "plan.parquet"), pq.read_table(output / "verdicts.parquet")
    assert len(plan) == 3 * 4 * 10
    assert verdicts["image_id"].to_pylist() == plan["image_id"].to_pylist()
    assert json.loads((output / "images" / "MANIFEST.json").read_text())["rows"] == len(plan)


def test_the_table_has_every_set_and_learns_something(output):
    results = json.loads((output / "results.json").read_text())
    by_name = {row["name"]: row for row in results["rows"]}
    tricks = ["base_class", "class_prompt", "multi_domain", "random_guidance"]
    assert list(by_name) == ["chance", "CLIP zero-shot", *tricks, "combined", "combined at fixed size", "real"]
    assert by_name["combined"]["images"] == sum(by_name[trick]["images"] for trick in tricks)
    assert 3 * 8 <= by_name["combined at fixed size"]["images"] <= 3 * 10
    assert by_name["real"]["top1"] > 0.5  # few drawings, and others than those that measure
    assert by_name["combined"]["low"] > by_name["chance"]["top1"]


def test_the_report_mlflow_and_dvc_metrics_agree(output):
    results = json.loads((output / "results.json").read_text())
    html = (output / "report.html").read_text()
    mlflow.set_tracking_uri(TRACKING)
    client = mlflow.MlflowClient(TRACKING)
    run = client.get_run(json.loads((output / "lineage.json").read_text())["mlflow_run"])
    within = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    children = {child.info.run_name: child for child in client.search_runs([run.info.experiment_id], within)}
    metrics = json.loads((output / "metrics.json").read_text())
    for row in results["rows"]:
        assert f"<b>{100 * row['top1']:.1f} %</b>" in html
        if row["name"] in children:
            assert children[row["name"]].data.metrics["evaluation/top1"] == pytest.approx(row["top1"])
        assert metrics[row["name"]] == pytest.approx(row["top1"], abs=1e-4)
    for name, ledger in results["diversity"].items():
        assert f"<td>{ledger['vendi']:.2f}</td>" in html
        assert children[name].data.metrics["evaluation/vendi"] == pytest.approx(ledger["vendi"])
    assert set(children) == {row["name"] for row in results["rows"][2:]}
    assert {child.info.status for child in children.values()} == {run.info.status} == {"FINISHED"}
    assert all("training/loss" in child.data.metrics for child in children.values())
    assert run.data.metrics["accuracy"] == pytest.approx(children["combined"].data.metrics["evaluation/top1"])
    assert run.data.tags["mlflow.note.content"].startswith("| trained on | images | top1 |")
    assert set(results["diversity"]) == {row["name"] for row in results["rows"][2:-1]}
    assert 'alt="t-SNE of CLIP features"' in html
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "feature_map.png", "accepted.png", "rejected.png", "confusion.json"} <= artifacts
    lineage = json.loads(run.data.tags["lineage"])
    assert lineage["data_md5"] == yaml.safe_load(Path("data.dvc").read_text())["outs"][0]["md5"]
    config = to_jsonable_python(check_config(output / "config.yaml", bag_of_tricks.entrypoint))
    assert run.data.params == tracking.parameters(config)
    assert run.data.params["training.model"] == "test_resnet"


def test_the_registered_classifier_predicts_at_any_batch_size(output):
    mlflow.set_tracking_uri(TRACKING)
    version = (output / "registered.txt").read_text()
    model = mlflow.pyfunc.load_model(f"models:/figment-bag-of-tricks/{version}")
    for batch in (1, 3):
        answers = model.predict(np.random.default_rng(0).random((batch, 3, 32, 32), dtype=np.float32))
        assert [sorted(answer["scores"]) for answer in answers] == [["banana", "car", "frog"]] * batch
        assert np.allclose([sum(answer["scores"].values()) for answer in answers], 1, atol=1e-4)


def test_git_dvc_zenml_and_mlflow_name_each_other(output):
    lineage = json.loads((output / "lineage.json").read_text())
    run = mlflow.MlflowClient(TRACKING).get_run(lineage["mlflow_run"])
    assert json.loads(run.data.tags["lineage"]) == lineage
    assert run.data.tags["mlflow.source.git.commit"] == lineage["git_sha"]
    assert run.data.tags["git.dirty"] == str(lineage["git_dirty"]).lower()
    inputs = {item.dataset.name: item.dataset.digest for item in run.inputs.dataset_inputs}
    assert inputs["data"] == lineage["data_md5"]
    assert inputs["images"] == lineage["outputs"]["images"]
    profiles = {item.dataset.name: item.dataset.profile for item in run.inputs.dataset_inputs}
    used = pq.read_table(output / "classifiers/combined/training_list.parquet")["label"].to_pylist()
    assert json.loads(profiles["combined"]) == {"num_rows": len(used), "classes": dict(Counter(used))}
    assert any(name.startswith("system/") for name in run.data.metrics)
    metadata = Client().get_pipeline_run(lineage["zenml_run"]).run_metadata
    assert metadata["mlflow.run"] == lineage["mlflow_run"]
    assert metadata["dvc.outputs"] == lineage["outputs"]
    assert dvc_md5(output / "images")[str(output / "images")] == lineage["outputs"]["images"]


def test_zenml_shows_pages_models_and_numbers(output):
    run = Client().get_pipeline_run(json.loads((output / "lineage.json").read_text())["zenml_run"])
    assert "bag_of_tricks" in {tag.name for tag in run.tags}
    numbers = json.loads((output / "metrics.json").read_text())
    assert run.run_metadata["results"]["accuracy"] == pytest.approx(numbers["combined"], abs=1e-4)
    [report] = run.steps["write_report"].outputs["report"]
    assert [shown.type for shown in report.visualizations] == [VisualizationType.HTML]
    assert report.run_metadata["path"] == str(output / "report.html")
    sheets = [found for name, [found] in run.steps["write_report"].outputs.items() if name != "report"]
    assert sheets
    assert {shown.type for sheet in sheets for shown in sheet.visualizations} == {VisualizationType.HTML}
    [classifiers] = run.steps["train_classifiers"].outputs["classifiers"]
    assert classifiers.type == ArtifactType.MODEL
    [gate] = run.steps["plan_images"].outputs["gate plan"]
    assert [shown.type for shown in gate.visualizations] == [VisualizationType.HTML]
    assert run.steps["validate_images"].run_metadata["validation"]["reason/accepted"] > 0
    version = Client().get_model_version("figment-bag-of-tricks", run.model_version.number)
    assert version.run_metadata["mlflow"] == f"models:/figment-bag-of-tricks/{(output / 'registered.txt').read_text()}"


def test_the_chain_is_told_both_ways(output, capsys):
    ids = pq.read_table(output / "classifiers" / "combined" / "training_list.parquet")["image_id"].to_pylist()
    chosen, count = ids[0], len(ids)
    assert figment(["trace", chosen[:16], "--plan", str(output / "plan.parquet")]) == 0
    said = capsys.readouterr().out
    version = (output / "registered.txt").read_text()
    lineage = json.loads((output / "lineage.json").read_text())
    assert f"image       {chosen}" in said
    assert "verdicts    accepted: " in said
    assert f"trained     {output}/classifiers/combined: figment-bag-of-tricks version {version} (challenger" in said
    assert lineage["zenml_run"] in said
    assert said.splitlines()[-1].endswith(f"figment replay {chosen[:16]} --plan {output}/plan.parquet")

    for model in ("figment-bag-of-tricks@challenger", str(output / "classifiers" / "combined")):
        assert figment(["why", model]) == 0
        said = capsys.readouterr().out
        assert f"figment-bag-of-tricks version {version} (challenger" in said
        assert "measured    top-1 " in said
        assert f"trained on  {count} images: " in said
        assert "run         ZenML bag_of_tricks-" in said
        assert "zenml pipeline run pipelines.bag_of_tricks.bag_of_tricks -c " in said.splitlines()[-1]
    assert f"MLflow {lineage['mlflow_run']}" in said, "the folder's own run, whoever registered these weights first"
    command, _, _ = (output / "config.yaml").read_text().partition("\n")
    assert command == f"# zenml pipeline run {PIPELINE} -c {output}/config.yaml"
    assert check_config(output / "config.yaml", bag_of_tricks.entrypoint)["classes"] == ["car", "frog", "banana"]


def test_the_python_of_the_readme(output, config, capsys):
    block = re.search(r"```python\n(.*?)```", Path("README.md").read_text(encoding="utf-8"), re.S)[1]
    assert len([line for line in block.splitlines() if line]) == 6
    for path, here in (("configs/pocket/bag_of_tricks.yaml", config), ("artifacts/bag_of_tricks", output)):
        block = block.replace(path, str(here))
    exec(block, {})
    said = capsys.readouterr().out.splitlines()
    assert "[]" in said, "no fault"
    assert any(line.endswith("real images.") for line in said)
    assert said[-1] == f"{len(Pool(output / 'images'))} images"


def test_a_second_run_repeats_nothing(output, config):
    times = {
        path: path.stat().st_mtime_ns
        for path in (*output.glob("images/*.parquet"), *output.glob("classifiers/*/*.safetensors"))
    }
    assert main([PIPELINE, "-c", str(config), "--again"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_generated_image_among_the_test_images_stops_the_run(output, config, tmp_path, capsys):
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    leaked = next(v for v in verdicts if v["accepted"] and v["labels"] == ["frog"] and v["trick"] == "class_prompt")
    image = next(
        row["image"]
        for file in output.glob("images/*.parquet")
        for row in pq.read_table(file).to_pylist()
        if row["image_id"] == leaked["image_id"]
    )
    test = pq.read_table("data/real/test.parquet")
    rows = test.to_pylist()
    number = next(i for i, row in enumerate(rows) if row["label"] == "frog")
    rows[number]["image"] = image
    (tmp_path / "real").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, test.schema), tmp_path / "real" / "test.parquet")
    changed = yaml.safe_load(config.read_text())
    changed["parameters"]["real"]["path"] = str(tmp_path / "real")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(changed))
    weights = {path: path.read_bytes() for path in output.glob("classifiers/*/model.safetensors")}

    assert main([PIPELINE, "-c", str(path)]) == 2
    said = capsys.readouterr().err
    assert "quality gate 'training list class_prompt'" in said
    assert f"{leaked['image_id'][:12]} has '{tmp_path}/real/test.parquet row {number}'" in said
    assert "stopped the run" in (output / "gates" / "training_list_class_prompt.html").read_text()
    assert weights == {path: path.read_bytes() for path in weights}


def test_pods_that_share_nothing_but_a_store_find_the_same_numbers(output, config, tmp_path, monkeypatch):
    """A pod that renders is killed on the way; the next run goes on and ends where the run on one disk did."""
    from tests.e2e import pods

    changed = yaml.safe_load(config.read_text())
    changed["parameters"].update(output="artifacts/pods", parts=2, fan_out=True)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(changed))
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FIGMENT_STORE", f"s3://{BUCKET}/store")
        store = Bucket(f"{BUCKET}/store/artifacts/pods")
        with pods.pods_stack(tmp_path, f"sqlite:///{Path(TRACKING.removeprefix('sqlite:///')).resolve()}"):
            run = bag_of_tricks.with_options(config_path=str(path))
            killer = threading.Thread(target=kill, args=(pods.RUNNING, "render_part", store.recorded))
            killer.start()
            with pytest.raises(RuntimeError, match="step render_part"):
                run()
            killer.join()
            before = store.recorded()
            assert 0 < len(before) < 8
            run()
        after = store.recorded()
        assert len(after) == 8
        assert {name: after[name] for name in before} == before, "rendered once"
        assert json.loads(store.read("results.json")) == json.loads((output / "results.json").read_text())
        assert store.read("registered.txt") == (output / "registered.txt").read_bytes()
        there, here = (json.loads(text) for text in (store.read("lineage.json"), (output / "lineage.json").read_text()))
        same = ("plan.parquet", "images", "verdicts.parquet", "results.json")
        assert {name: there["outputs"][name] for name in same} == {name: here["outputs"][name] for name in same}
        assert there["git_sha"] == here["git_sha"]
        assert not [name for name in store.list() if name.endswith("checkpoint.pt")]
    empty = {folder.name.partition("-")[2] for folder in tmp_path.iterdir() if not list(folder.glob(SHARDS))}
    assert {"plan_images", "validate_images", "register_model"} < empty, "who looks at no image fetches none"
    assert [file.name for file in Path("artifacts/pods").rglob("*") if file.is_file()] == ["summary.json"]


def test_the_next_run_takes_what_a_person_decided(output, config, tmp_path):
    """The last test: it changes what the others look at."""
    before = {v["image_id"]: v for v in pq.read_table(output / "verdicts.parquet").to_pylist()}
    dropped = next(i for i, v in before.items() if v["accepted"] and v["trick"] == "base_class")
    review = tmp_path / "review.csv"
    review.write_text(f"image_id,decision\n{dropped},drop\n{'0' * 64},keep\n")
    changed = yaml.safe_load(config.read_text())
    changed["parameters"]["review"] = str(review)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(changed))
    assert main([PIPELINE, "-c", str(path)]) == 0
    after = {v["image_id"]: v for v in pq.read_table(output / "verdicts.parquet").to_pylist()}
    assert after[dropped] == before[dropped] | {"accepted": False, "reason": "human_drop"}
    assert {i for i in after if after[i] != before[i]} == {dropped}
    for name, learned in (("base_class", False), ("combined", False), ("class_prompt", True)):
        chosen = pq.read_table(output / "classifiers" / name / "training_list.parquet")["image_id"].to_pylist()
        assert len(chosen) == sum(v["accepted"] for v in before.values() if name in (v["trick"], "combined")) - (
            not learned
        )
        assert dropped not in chosen
    assert "human drop" in (output / "report.html").read_text()
    page = (output / "review.html").read_text()
    items = json.loads(page.split("const items = ")[1].split(", choices =")[0])
    assert {item["ids"][0]: item["answer"] for item in items} == {i: "drop" if i == dropped else "" for i in after}


SHARDS = "artifacts/pods/images/*.parquet"


def kill(running, name, ready) -> None:
    """Wait for the pod ``name`` and until ``ready``, then kill it as a cluster that lacks memory does."""
    deadline = time.monotonic() + 240
    while not (name in running and ready()) and time.monotonic() < deadline:
        time.sleep(0.01)
    running[name].kill()


class Bucket:
    """A folder of the S3 store, seen by no code of the project."""

    def __init__(self, root: str):
        import boto3

        self.client, (self.bucket, _, self.root) = boto3.client("s3"), root.partition("/")

    def list(self) -> dict[str, str]:
        """By path, what tells content and time of writing."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.root}/")
        found = [item for page in pages for item in page.get("Contents", ())]
        return {item["Key"].removeprefix(f"{self.root}/"): f"{item['ETag']} {item['LastModified']}" for item in found}

    def recorded(self) -> dict[str, str]:
        """The shards that have a record, with when they were written."""
        found = self.list()
        records = [name for name in found if name.endswith(".shard.json")]  # each comes after its shard
        return {name: found[name] + found[name.replace(".shard.json", ".parquet")] for name in records}

    def read(self, name: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=f"{self.root}/{name}")["Body"].read()
