"""The main job, whole: twice by the runner, once interrupted, and its numbers in every place that shows them."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from figment.ops.run import main

PIPELINE = "pipelines.bag_of_tricks.bag_of_tricks"
TRACKING = "sqlite:///.figment/tests/mlflow.db"
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
    command = [sys.executable, "-m", "figment.ops.run", PIPELINE, "-c", str(config)]
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever started the tests may ignore Ctrl-C
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heeds)
    deadline = time.monotonic() + 240
    while not list(output.glob("images/*.parquet")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said[-2000:]
    assert "run the same command again" in said
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
    assert by_name["real"]["top1"] > 0.8
    assert by_name["combined"]["low"] > by_name["chance"]["top1"]


def test_the_report_mlflow_and_dvc_metrics_agree(output):
    results = json.loads((output / "results.json").read_text())
    html = (output / "report.html").read_text()
    mlflow.set_tracking_uri(TRACKING)
    client = mlflow.MlflowClient(TRACKING)
    experiment = client.get_experiment_by_name("bag_of_tricks")
    run = client.search_runs([experiment.experiment_id], max_results=1)[0]
    metrics = json.loads((output / "metrics.json").read_text())
    for row in results["rows"]:
        assert f"<b>{100 * row['top1']:.1f} %</b>" in html
        assert run.data.metrics[f"evaluation/top1/{row['name'].replace(' ', '_')}"] == pytest.approx(row["top1"])
        assert metrics[row["name"]] == pytest.approx(row["top1"], abs=1e-4)
    for name, ledger in results["diversity"].items():
        assert f"<td>{ledger['vendi']:.2f}</td>" in html
        assert run.data.metrics[f"evaluation/vendi/{name.replace(' ', '_')}"] == pytest.approx(ledger["vendi"])
    assert set(results["diversity"]) == {row["name"] for row in results["rows"][2:-1]}
    assert 'alt="t-SNE of CLIP features"' in html
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "feature_map.png", "accepted.png", "rejected.png", "confusion.json"} <= artifacts
    assert run.data.tags["dvc.data_md5"] == yaml.safe_load(Path("data.dvc").read_text())["outs"][0]["md5"]
    assert run.data.params["training.model"] == "test_resnet"


def test_the_registered_classifier_predicts_at_any_batch_size(output):
    mlflow.set_tracking_uri(TRACKING)
    version = (output / "registered.txt").read_text()
    model = mlflow.pyfunc.load_model(f"models:/figment-bag-of-tricks/{version}")
    for batch in (1, 3):
        probabilities = model.predict(np.random.default_rng(0).random((batch, 3, 32, 32), dtype=np.float32))
        assert np.asarray(probabilities).shape == (batch, 3)
        assert np.allclose(np.asarray(probabilities).sum(1), 1, atol=1e-4)


def test_a_second_run_repeats_nothing(output, config):
    times = {
        path: path.stat().st_mtime_ns
        for path in (*output.glob("images/*.parquet"), *output.glob("classifiers/*/*.safetensors"))
    }
    assert main([PIPELINE, "-c", str(config)]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}
