"""The main job with rounds: from the config to the report, resumed, and the images that it had before."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from figment.cli import main as figment
from figment.ops.run import main

PIPELINE = "pipelines.bag_of_tricks.bag_of_tricks"
CLASSES = ["car", "frog"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    parameters = config["parameters"]
    parameters.update(
        classes=CLASSES, tricks=["base_class", "multi_domain"], images_per_class=4, fixed_size=False,
        output=str(folder / "out"), rounds={"max": 2, "images": 6, "oversample": 2, "stop": "max", "control": "random"},
    )  # fmt: skip
    parameters["generator"].update(num_inference_steps=2)
    parameters["acceptance"].update(min_probability=0.0, require_top1=False, min_contrast=0.0)
    parameters["training"].update(steps=8, batch_size=8)
    parameters["real"].update(test_per_class=10, train_per_class=8)
    parameters.update(gates={"max_duplicates": 1.0, "max_leakage": 1.0})
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_rounds_add_images_and_change_none(config, capsys):
    assert main([PIPELINE, "-c", str(config)]) == 0
    output = config.parent / "out"
    first, grown = (pq.read_table(output / f"{name}.parquet").to_pylist() for name in ("plan", "plan_rounds"))
    by_id = {row["image_id"]: row for row in grown}
    assert all(by_id[row["image_id"]] == row for row in first)
    added = [row for row in grown if row["round"]]
    assert {(row["trick"], row["round"]) for row in added} == {("round_1", 1), ("round_2", 2)}
    assert all(len(row["parent"]) == 64 for row in added)
    assert len(added) == 2 * 6 * 2

    rounds = json.loads((output / "rounds.json").read_text())
    sizes = [each["images"] for each in rounds["rounds"]]
    assert sizes == [16, 22, 28]
    assert [sum(each["budget"].values()) for each in rounds["rounds"][1:]] == [6, 6]
    assert rounds["stop"] == "All 2 rounds are done."
    assert rounds["control"]["images"] == 28
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    assert sorted(row["image_id"] for row in verdicts) == sorted(by_id)
    accepted = {row["image_id"] for row in verdicts if row["accepted"]}
    lists = {
        name: set(pq.read_table(output / "classifiers" / name / "training_list.parquet")["image_id"].to_pylist())
        for name in ("combined", "round_1", "round_2", "random_extra")
    }
    assert lists["combined"] < lists["round_1"] < lists["round_2"] <= accepted
    assert lists["round_2"] & lists["random_extra"] == lists["combined"]

    results = json.loads((output / "results.json").read_text())
    assert results["confusion_of"] == "rounds"
    assert {row["name"]: row["images"] for row in results["rows"] if row["name"] in ("rounds", "random extra")} == {
        "rounds": 28, "random extra": 28,
    }  # fmt: skip
    assert {"combined", "random extra"} <= results["gains"].keys()
    html = (output / "report.html").read_text()
    assert "Rounds</h2>" in html
    assert "error on validation images" in html

    image_id = added[0]["image_id"]
    capsys.readouterr()
    assert figment(["replay", image_id, "--plan", str(output / "plan_rounds.parquet")]) == 0
    assert figment(["trace", image_id, "--plan", str(output / "plan_rounds.parquet")]) == 0


def test_a_second_run_renders_and_trains_nothing_again(config):
    output = config.parent / "out"
    made = [*output.glob("images/*.parquet"), *output.glob("classifiers/*/model.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in made}
    verdicts, rounds = ((output / name).read_bytes() for name in ("verdicts.parquet", "rounds.json"))
    values = yaml.safe_load(config.read_text())
    values["parameters"]["register_as"] = "again"
    config.write_text(yaml.safe_dump(values))
    assert main([PIPELINE, "-c", str(config)]) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert (output / "verdicts.parquet").read_bytes() == verdicts
    assert (output / "rounds.json").read_bytes() == rounds
