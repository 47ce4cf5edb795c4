"""The main job with the paper's EuroSAT settings in miniature: its grammar, its best set, the control at fixed size."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from figment.ops.run import main

PIPELINE = "pipelines.bag_of_tricks.bag_of_tricks"
pytestmark = pytest.mark.slow


def test_every_union_is_trained_on_and_the_best_is_registered(tmp_path):
    config = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())
    parameters, paper = (
        config["parameters"],
        yaml.safe_load(Path("configs/paper/eurosat.yaml").read_text())["parameters"],
    )
    parameters.update(
        {name: paper[name] for name in ("tricks", "wording", "unions", "fixed_size")},
        classes=["car", "frog"],
        images_per_class=6,
        output=str(tmp_path / "out"),
    )
    del parameters["domains"]  # the grammar's own
    parameters["generator"].update(num_inference_steps=2)
    parameters["acceptance"].update(min_probability=0.0, require_top1=False, min_contrast=0.0)
    parameters["training"].update(steps=4, batch_size=8)
    parameters["real"].update(test_per_class=10, train_per_class=8)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main([PIPELINE, "-c", str(path)]) == 0

    output = tmp_path / "out"
    plan = pq.read_table(output / "plan.parquet").to_pandas()
    assert plan.groupby("trick").size().to_dict() == {"base_class": 12, "multi_domain": 12, "random_guidance": 24}
    assert "a satellite photo of a car in the style of a sketch" in set(plan.prompt)
    results = json.loads((output / "results.json").read_text())
    images = {row["name"]: row["images"] for row in results["rows"]}
    assert {name: images[name] for name in ("base_class", "combined", "combined at fixed size", "best")} == {
        "base_class": 12, "combined": 36, "combined at fixed size": 12, "best": 24,
    }  # fmt: skip
    assert results["confusion_of"] == "best"
    assert set(pq.read_table(output / "classifiers/best/training_list.parquet")["image_id"].to_pylist()) == set(
        plan[plan.trick == "random_guidance"].image_id
    )
    assert (output / "feature_map.png").stat().st_size > 1000
