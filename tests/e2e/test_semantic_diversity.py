"""Zero-shot tags, whole: with images made for unseen labels, without them, and the trained model on other images."""

import json
import os
from collections import Counter
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from figment.cli import main as figment
from figment.labels import LabelSpace
from figment.ops.run import main
from figment.training.saved import read_model
from figment.validation.verdicts import REASONS
from pocket.data_sets import write_scenes

TRAINING = "pipelines.semantic_diversity.semantic_diversity"
TRACKING = os.environ["MLFLOW_TRACKING_URI"]  # of this worker
GATES = {"plan", "verdicts", "zsl_images", "gzsl_images", "training_images", "training_list_made"}
pytestmark = pytest.mark.slow


def write_config(folder: Path, **changes) -> Path:
    """The pocket config, smaller."""
    config = yaml.safe_load(Path("configs/pocket/semantic_diversity.yaml").read_text())
    parameters = config["parameters"]
    parameters["data"]["root"] = str(folder / "scenes")
    write_scenes(folder / "scenes", LabelSpace.load(Path(parameters["data"]["labels"])), train=600, test=120, seed=0)
    parameters["training"].update(epochs=3, rows=3)
    parameters["generator"]["num_inference_steps"] = 4
    parameters.update(images_per_label=4, output=str(folder / "out"), **changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """The 32 images are rendered by two processes."""
    path = write_config(tmp_path_factory.mktemp("run"))
    config = yaml.safe_load(path.read_text())
    config["parameters"]["synthesis"].update(engine="ray", workers=2, shard_size=16)
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def output(config) -> Path:
    assert main([TRAINING, "-c", str(config)]) == 0
    return config.parent / "out"


def test_made_images_that_pass_join_the_training(output):
    plan = pq.read_table(output / "plan.parquet").to_pylist()
    labels = read_model(output / "model").labels
    unseen = {labels.names[i] for i in labels.unseen_ids}
    assert len(plan) == 8 * 4
    assert all(unseen & set(row["labels"]) for row in plan)
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    passed = sum(verdict["accepted"] for verdict in verdicts)
    assert sorted(v["image_id"] for v in verdicts) == [row["image_id"] for row in plan]
    assert 0 < passed < 32
    splits = json.loads((output / "splits_with_made" / "splits.json").read_text())
    assert (splits["images"]["train"], splits["made"]) == (540 + passed, passed)
    assert json.loads((output / "images" / "MANIFEST.json").read_text())["rows"] == 32
    assert len(labels) == 32


def test_the_kept_epochs_numbers_are_in_the_report_mlflow_and_dvc_metrics(output):
    history = json.loads((output / "model" / "history.json").read_text())
    metrics = json.loads((output / "metrics.json").read_text())
    kept = history["epochs"][history["kept"] - 1]
    assert kept["validation/mAP"] == max(row["validation/mAP"] for row in history["epochs"])
    mlflow.set_tracking_uri(TRACKING)
    client = mlflow.MlflowClient(TRACKING)
    run = client.get_run(json.loads((output / "lineage.json").read_text())["mlflow_run"])
    html = (output / "report.html").read_text()
    for name in ("zsl/mAP", "zsl_twin_free/F1@3", "gzsl/mAP", "gzsl/F1@5", "validation/P@3"):
        assert metrics[name] == pytest.approx(kept[name], abs=1e-4)
        assert run.data.metrics[f"evaluation/{name.replace('@', '_at_')}"] == pytest.approx(kept[name])
        assert f"<td>{100 * kept[name]:.1f}</td>" in html
    curve = client.get_metric_history(run.info.run_id, "training/zsl/mAP")
    assert [point.value for point in curve] == pytest.approx([row["zsl/mAP"] for row in history["epochs"]])
    assert "report.html" in {item.path for item in client.list_artifacts(run.info.run_id)}
    assert html.count("<figure ") == 12
    reasons = Counter(pq.read_table(output / "verdicts.parquet")["reason"].to_pylist())
    for reason, count in reasons.items():
        assert run.data.metrics[f"validation/reason/{reason}"] == count
        assert f"{count} {reason.replace('_', ' ')}" in html
    assert sum(run.data.metrics[f"validation/reason/{reason}"] for reason in REASONS) == 32


def test_the_registered_matrix_scores_any_number_of_images(output):
    mlflow.set_tracking_uri(TRACKING)
    version = (output / "registered.txt").read_text()
    model = mlflow.pyfunc.load_model(f"models:/figment-semantic-diversity/{version}")
    for batch in (1, 3):
        answers = model.predict(np.random.default_rng(0).random((batch, 3, 32, 32), dtype=np.float32))
        assert [len(answer["scores"]) for answer in answers] == [32] * batch


def test_the_chain_is_told_from_the_image_and_from_the_model(output, capsys):
    image_id = pq.read_table(output / "model" / "training_list.parquet")["image_id"][0].as_py()
    version = (output / "registered.txt").read_text()
    assert figment(["trace", image_id[:16], "--plan", str(output / "plan.parquet")]) == 0
    said = capsys.readouterr().out
    assert f"{output}/model: figment-semantic-diversity version {version} (challenger" in said
    assert "figment replay" in said
    assert figment(["why", "figment-semantic-diversity@challenger"]) == 0
    said = capsys.readouterr().out
    assert "zenml pipeline run pipelines.semantic_diversity.semantic_diversity -c" in said
    assert "trained on" in said
    card = (output / "model" / "model_card.md").read_text()
    assert "## Licences" in card
    assert "generated images from" in card
    lineage = json.loads((output / "lineage.json").read_text())
    assert {"plan.parquet", "images", "report.html"} <= set(lineage["outputs"])
    assert {page.stem for page in (output / "gates").glob("*.html")} >= GATES


def test_a_second_run_repeats_nothing(output, config):
    files = [*output.glob("images/*.parquet"), *output.glob("splits*/*/*"), *output.glob("model/*.safetensors")]
    times = {path: path.stat().st_mtime_ns for path in files}
    assert main([TRAINING, "-c", str(config), "--again"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_without_made_images_nothing_is_rendered(tmp_path):
    config = write_config(tmp_path, generated=False)
    assert main([TRAINING, "-c", str(config)]) == 0
    assert not (tmp_path / "out" / "images").exists()
    assert json.loads((tmp_path / "out" / "splits" / "splits.json").read_text())["images"]["train"] == 540


def test_predict_tags_folders_and_parquet(output, tmp_path):
    config = yaml.safe_load(Path("configs/pocket/predict.yaml").read_text())
    chosen = tmp_path / "few.parquet"
    pq.write_table(pq.read_table("data/real/test.parquet").slice(0, 6), chosen)
    config["parameters"].update(
        model=str(output / "model"), images=[str(chosen)], rendered=True, output=str(tmp_path / "out")
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["pipelines.predict.predict", "-c", str(path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 6 * 5
    assert {line["image"] for line in lines} == {f"{chosen}:{row}" for row in range(6)}
    assert len(list((tmp_path / "out" / "rendered").iterdir())) == 6


def test_a_predict_of_nothing_says_so_in_one_sentence(output, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    config = yaml.safe_load(Path("configs/pocket/predict.yaml").read_text())
    config["parameters"].update(
        model=str(output / "model"), images=[str(tmp_path / "empty")], output=str(tmp_path / "out")
    )
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["pipelines.predict.predict", "-c", str(path)]) == 2
    assert "empty: holds no image" in capsys.readouterr().err
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


def test_the_epoch_is_never_chosen_by_test_images(tmp_path, capsys):
    config = write_config(tmp_path, generated=False)
    changed = yaml.safe_load(config.read_text())
    changed["parameters"]["training"]["select_by"] = "zsl/mAP"
    config.write_text(yaml.safe_dump(changed))
    assert main([TRAINING, "-c", str(config)]) == 2
    assert "training.select_by: 'zsl/mAP' would choose by test images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_clip_that_is_not_there_ends_a_run_before_anything_is_rendered(tmp_path, capsys):
    config = write_config(tmp_path, clip={"model": "local-dir:models/none"})
    assert main([TRAINING, "-c", str(config)]) == 2
    assert "clip.model: 'models/none' is not there; give the folder of a model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_check_that_nothing_passes_stops_in_one_sentence(tmp_path, capsys):
    config = write_config(tmp_path, acceptance={"kind": "coco", "min_probability": 1.0})
    assert main([TRAINING, "-c", str(config)]) == 2
    said = capsys.readouterr().err
    assert "quality gate 'training list made'" in said
    assert "banana has 0" in said
    assert not (tmp_path / "out" / "splits_with_made").exists()
