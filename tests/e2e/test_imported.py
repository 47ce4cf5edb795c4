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
from tests.e2e import test_custom, test_semantic_diversity, test_tailored

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


def small(recipe: str, folder: Path) -> Path:
    """The recipe's reduced config of its own test, without what is not looked at here."""
    if recipe == "tailored":
        config = test_tailored.write_config(folder, adaptation=None, gates={"max_duplicates": 1.0, "max_leakage": 1.0})
    elif recipe == "semantic_diversity":
        every = {"kind": "nus", "top_k": 32, "extra_probability": 1, "min_contrast": 0}
        settings = {"acceptance": every, "gates": {"max_leakage": 1.0, "max_duplicates": 1.0}}
        config = test_semantic_diversity.write_config(folder, generated=False, **settings)
    else:
        config = test_custom.write_config(folder, "semantic")
    body = yaml.safe_load(config.read_text())
    parameters = body["parameters"]
    parameters["imported"] = [str(folder / "mine")]
    if recipe == "tailored":
        parameters.update(images_per_pair=1)
    if recipe == "custom":
        parameters.pop("adaptation")
        parameters.update(planner={"kind": "imported"}, prompts=[])
    parameters["training"].update(epochs=1)
    config.write_text(yaml.safe_dump(body))
    return config


@pytest.mark.parametrize(
    ("recipe", "model"), [("tailored", "classifier"), ("semantic_diversity", "model"), ("custom", "model")]
)
def test_imported_images_of_unseen_classes_join_a_recipe_of_several_classes(tmp_path, recipe, model):
    """Drawings by other artists: four of each unseen class."""
    unseen = ["banana", "dog", "truck"]
    unseen += ["bicycle", "donut", "giraffe", "laptop", "sheep"] if recipe == "semantic_diversity" else []
    counts = dict.fromkeys(unseen, 0)
    for row in pq.read_table("data/drawings/test.parquet").to_pylist():
        if counts.get(row["label"], 4) < 4:
            counts[row["label"]] += 1
            file = tmp_path / "source" / row["label"] / f"{counts[row['label']]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(row["image"]["bytes"])
    import_source("folder", tmp_path / "source", Options(), tmp_path / "mine")
    config, output = small(recipe, tmp_path), tmp_path / "out"
    assert main([f"pipelines.{recipe}.{recipe}", "-c", str(config)]) == 0
    plan = pq.read_table(sorted(output.glob("plan*.parquet"))[-1])
    mine = set(plan.filter(pc.equal(plan["trick"], "mine"))["image_id"].to_pylist())
    assert len(mine) == 4 * len(unseen)
    verdicts = {row["image_id"]: row["accepted"] for row in pq.read_table(output / "verdicts.parquet").to_pylist()}
    listed = set(pq.read_table(output / model / "training_list.parquet")["image_id"].to_pylist())
    assert mine <= verdicts.keys()
    assert {i for i in mine if verdicts[i]} == mine & listed != set()
