"""The main job with quotas, rendered in two parts side by side, as a cluster would."""

import json
import os
from collections import Counter
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
import yaml

from figment.ops.run import main

PIPELINE = "pipelines.bag_of_tricks.bag_of_tricks"
TRACKING = os.environ["MLFLOW_TRACKING_URI"]  # of this worker
pytestmark = pytest.mark.slow


def config(folder: Path, **changes) -> Path:
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    parameters = config["parameters"]
    parameters.update(
        classes=["car", "frog"],
        tricks=["base_class", "random_guidance"],
        images_per_class=8,
        output=str(folder / "out"),
    )
    parameters["generator"].update(num_inference_steps=6)
    parameters["synthesis"].update(shard_size=8, batch_size=8)
    parameters["training"].update(steps=20, batch_size=16)
    parameters["real"].update(test_per_class=20, train_per_class=10)
    parameters.update(changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_quotas_are_filled_and_parts_add_up(tmp_path):
    path = config(tmp_path, quota={"accepted": 10, "max_attempts": 200}, parts=2)
    assert main([PIPELINE, "-c", str(path)]) == 0
    output = tmp_path / "out"
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    accepted = Counter((row["trick"], *row["labels"]) for row in verdicts if row["accepted"])
    tricks, classes = ("base_class", "random_guidance"), ("car", "frog")
    assert accepted == {(trick, label): 10 for trick in tricks for label in classes}
    planned = pq.read_table(output / "plan_topped_up.parquet")
    assert sorted(row["image_id"] for row in verdicts) == planned["image_id"].to_pylist()
    base = pq.read_table(output / "plan.parquet")
    assert set(base["image_id"].to_pylist()) < set(planned["image_id"].to_pylist())
    mlflow.set_tracking_uri(TRACKING)
    client = mlflow.MlflowClient(TRACKING)
    metrics = client.get_run(json.loads((output / "lineage.json").read_text())["mlflow_run"]).data.metrics
    assert metrics["synthesis/images_per_second"] > 0
    assert 0 < metrics["synthesis/accepted_share"] <= 1


def test_a_quota_out_of_reach_names_the_class_and_stops(tmp_path, capsys):
    """No image has so much contrast: all count as nearly uniform."""
    acceptance = {"min_contrast": 1.0}
    path = config(tmp_path, quota={"accepted": 10, "max_attempts": 12}, acceptance=acceptance, tricks=["base_class"])
    assert main([PIPELINE, "-c", str(path)]) == 2
    said = capsys.readouterr().err
    assert "sets cannot reach 10 accepted images" in said
    assert "likely the generator: its images are blank" in said
    assert not (tmp_path / "out" / "classifiers").exists()


def test_a_budget_stops_the_pipeline_with_a_sentence_and_the_next_run_goes_on(tmp_path, capsys):
    path = config(tmp_path)
    values = yaml.safe_load(path.read_text())
    values["parameters"]["synthesis"]["max_images"] = 16
    path.write_text(yaml.safe_dump(values))
    assert main([PIPELINE, "-c", str(path)]) == 2
    assert "max_images 16 would be exceeded" in capsys.readouterr().err
    assert main([PIPELINE, "-c", str(path)]) == 0
