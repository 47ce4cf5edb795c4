"""Images made elsewhere in a whole run: judged, gated, trained on beside rendered ones, and named by trace."""

import json
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from figment.cli import main as figment
from figment.imports.contract import Options
from figment.imports.registry import import_source
from figment.ops.run import main

CLASSES = ["car", "frog", "ship"]
pytestmark = pytest.mark.slow


def test_imported_images_join_a_run(tmp_path, capsys):
    (source,) = sorted(Path("data/real").glob("train*.parquet"))
    import_source("parquet", source, Options(), tmp_path / "mine")
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    output, parameters = tmp_path / "out", config["parameters"]
    parameters.update(classes=CLASSES, tricks=["base_class"], images_per_class=6, imported=[str(tmp_path / "mine")])
    parameters.update(output=str(output), gates={"max_duplicates": 1.0, "max_leakage": 1.0})
    parameters["generator"].update(num_inference_steps=4)
    parameters["acceptance"].update(min_probability=0, require_top1=False, min_contrast=0)
    parameters["training"].update(steps=20, batch_size=16)
    parameters["real"].update(test_per_class=20, train_per_class=10)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["pipelines.bag_of_tricks.bag_of_tricks", "-c", str(tmp_path / "config.yaml")]) == 0

    plan, verdicts = (pq.read_table(output / f"{name}.parquet") for name in ("plan", "verdicts"))
    imported = plan.filter(pc.equal(plan["trick"], "mine"))
    assert 0 < len(imported) == len(plan) - 18
    assert set(verdicts["image_id"].to_pylist()) == set(plan["image_id"].to_pylist())
    for name, count in (("mine", 18), ("base_class", 18), ("combined", 36)):
        listed = pq.read_table(output / "classifiers" / name / "training_list.parquet")
        assert len(listed) == count
    results = json.loads((output / "metrics.json").read_text())
    assert any("mine" in name for name in results)
    capsys.readouterr()
    one = pq.read_table(output / "classifiers/mine/training_list.parquet")["image_id"][0].as_py()
    assert figment(["trace", one, "--plan", str(output / "plan.parquet")]) == 0
    said = capsys.readouterr().out
    record = json.loads((tmp_path / "mine/import.json").read_text())
    assert f"imported:parquet @ {record['sha256']}" in said
    assert str(output / "classifiers/mine") in said
