"""Tailored images, whole: interrupted and not, with a tuned text encoder and without, with quotas, and with bad input."""

import json
import os
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from figment.adaptation.text_encoder import Tuned
from figment.cli import main as figment
from figment.datasets.tagged import read_tagged
from figment.labels import LabelSpace
from figment.ops import tracking
from figment.ops.run import main
from figment.training.dual_prompt import Scorer
from figment.training.kinds.registry import open_model
from pocket.data_sets import write_scenes
from tests.e2e.processes import start

PIPELINE = "pipelines.tailored.tailored"
TRACKING = os.environ["MLFLOW_TRACKING_URI"]  # of this worker
LABELS = {
    "labels": [
        *({"name": name} for name in ("airplane", "bird", "car", "cat")),
        *({"name": name, "unseen": True} for name in ("banana", "dog", "truck")),
    ],
    "confusable": [["dog", "truck"]],
}
SETS = [("banana",), ("banana", "dog"), ("banana", "truck"), ("dog",), ("truck",)]
GATES = {"plan", "verdicts", "zsl_images", "gzsl_images", "training_images", "training_list_made"}
pytestmark = pytest.mark.slow


def write_config(folder: Path, **changes) -> Path:
    """The pocket config, smaller."""
    config = yaml.safe_load(Path("configs/pocket/tailored.yaml").read_text())
    parameters = config["parameters"]
    (folder / "labels.yaml").write_text(yaml.safe_dump(LABELS))
    parameters["data"].update(labels=str(folder / "labels.yaml"), root=str(folder / "scenes"))
    write_scenes(folder / "scenes", LabelSpace.load(folder / "labels.yaml"), train=120, test=60, seed=0)
    parameters["prompts"].update(per_pair=3)
    parameters["generator"].update(num_inference_steps=2)
    parameters["adaptation"].update(
        steps=6, batch_size=2, learning_rate=0.003, num_inference_steps=2, differentiated_steps=None, evaluate_every=2,
        evaluated_images=10, evaluation_batch=10,
    )  # fmt: skip
    parameters["clip"].update(templates=["a photo of a {name}"])
    parameters["acceptance"].update(min_probability=0.99)  # so few steps do not always reach it
    parameters["synthesis"].update(batch_size=8, shard_size=8)
    parameters["training"].update(epochs=3, context=4)
    parameters.update(against="wanted", images_per_pair=6, output=str(folder / "out"), **changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def output(config) -> Path:
    assert main([PIPELINE, "-c", str(config)]) == 0
    return config.parent / "out"


def tuned_of(output: Path) -> Tuned:
    return Tuned.model_validate_json((output / "tuning.json").read_text())


def test_pairs_are_asked_for_painted_by_the_tuned_generator_and_checked(output):
    prompts = pq.read_table(output / "prompts.parquet").to_pylist()
    assert {tuple(row["labels"]) for row in prompts} == set(SETS)
    assert all(name in row["text"] for row in prompts for name in row["labels"])
    plan = pq.read_table(output / "plan.parquet").to_pylist()
    assert Counter(tuple(row["labels"]) for row in plan) == dict.fromkeys(SETS, 6)
    assert {row["prompt"] for row in plan} == {row["text"] for row in prompts}
    adapter = tuned_of(output).adapter
    assert {row["adapter"] for row in plan} == {adapter}
    assert (output / "adapters" / f"{adapter}.safetensors").is_file()
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    assert sorted(v["image_id"] for v in verdicts) == [row["image_id"] for row in plan]
    assert json.loads((output / "images" / "MANIFEST.json").read_text())["rows"] == len(plan)
    assert 0 < sum(v["accepted"] for v in verdicts) < len(plan)


def test_the_classifier_learned_from_what_passed_and_beats_chance(output):
    history = json.loads((output / "classifier" / "history.json").read_text())
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    assert history["made"] == sum(v["accepted"] for v in verdicts)
    trained = open_model(output / "classifier")
    assert trained.labels == tuple(label["name"] for label in LABELS["labels"])
    validation = read_tagged(output / "splits" / "validation")
    chance = float((validation.targets[:, :4] > 0).float().mean())
    assert history["epochs"][history["kept"] - 1]["validation_seen/mAP"] > chance + 0.05
    zsl = read_tagged(output / "splits" / "zsl")
    assert history["test"]["zsl/mAP"] > float((zsl.targets[:, 4:] > 0).float().mean())
    assert Scorer(trained.network)(zsl.pixels).shape == (len(zsl), 7)
    validated = [row["validation/mAP"] for row in history["epochs"]]
    assert history["kept"] == 1 + validated.index(max(validated))


def test_the_numbers_are_the_same_in_the_report_mlflow_and_dvc_metrics(output):
    history = json.loads((output / "classifier" / "history.json").read_text())
    metrics = json.loads((output / "metrics.json").read_text())
    tuned, html = tuned_of(output), (output / "report.html").read_text()
    mlflow.set_tracking_uri(TRACKING)
    client = mlflow.MlflowClient(TRACKING)
    run = client.get_run(json.loads((output / "lineage.json").read_text())["mlflow_run"])
    for name in ("zsl/mAP", "zsl/F1@3", "gzsl/mAP", "gzsl/P@3"):
        for kind, prefix in (("test", ""), ("clip", "clip_")):
            value = history[kind][name]
            assert metrics[prefix + name] == pytest.approx(value, abs=1e-4)
            assert run.data.metrics[f"evaluation/{prefix}{name.replace('@', '_at_')}"] == pytest.approx(value)
            assert f"<td>{100 * value:.1f}</td>" in html
    assert run.data.metrics["mAP"] == run.data.metrics["evaluation/zsl/mAP"]
    curve = client.get_metric_history(run.info.run_id, "training/validation/mAP")
    assert [point.value for point in curve] == pytest.approx([row["validation/mAP"] for row in history["epochs"]])
    curve = client.get_metric_history(run.info.run_id, "adaptation/acceptance")
    assert [point.value for point in curve] == pytest.approx([row["acceptance"] for row in tuned.history])
    assert metrics["adaptation/before"] == pytest.approx(tuned.before.acceptance, abs=1e-4)
    assert f"{100 * tuned.after.acceptance:.1f} % after;" in html
    verdicts = pq.read_table(output / "verdicts.parquet").to_pylist()
    passed = sum(v["accepted"] for v in verdicts) / len(verdicts)
    assert metrics["validation/passed"] == pytest.approx(passed, abs=1e-4)
    assert "report.html" in {item.path for item in client.list_artifacts(run.info.run_id)}


def test_the_registered_classifier_scores_any_number_of_images(output):
    mlflow.set_tracking_uri(TRACKING)
    version = (output / "registered.txt").read_text()
    registered = mlflow.pyfunc.load_model(f"models:/figment-tailored/{version}")
    own = Scorer(open_model(output / "classifier").network)
    pixels = read_tagged(output / "splits" / "gzsl").pixels[:3]
    for batch in (1, 3):
        answers = registered.predict((pixels[:batch].numpy() / 255).astype(np.float32))
        scores = torch.tensor([list(answer["scores"].values()) for answer in answers])
        torch.testing.assert_close(scores, own(pixels[:batch]), atol=1e-4, rtol=1e-3)


def test_the_chain_is_told_from_the_image_and_from_the_model(output, capsys):
    image_id = pq.read_table(output / "classifier" / "training_list.parquet")["image_id"][0].as_py()
    version = (output / "registered.txt").read_text()
    assert figment(["trace", image_id[:16], "--plan", str(output / "plan.parquet")]) == 0
    said = capsys.readouterr().out
    assert f"{output}/classifier: figment-tailored version {version} (challenger" in said
    assert "figment replay" in said
    assert figment(["why", "figment-tailored@challenger"]) == 0
    said = capsys.readouterr().out
    assert "zenml pipeline run pipelines.tailored.tailored -c" in said
    assert "trained on" in said
    card = (output / "classifier" / "model_card.md").read_text()
    assert "## Licences" in card
    assert "generated images from" in card
    lineage = json.loads((output / "lineage.json").read_text())
    assert {"plan.parquet", "images", "report.html"} <= set(lineage["outputs"])
    assert {page.stem for page in (output / "gates").glob("*.html")} >= GATES


def test_its_classifier_predicts_and_is_exported(output, tmp_path, capsys):
    Image.effect_noise((40, 30), 90).save(tmp_path / "a.png")
    assert figment(["predict", str(tmp_path / "a.png"), "--model", str(output / "classifier")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 7
    assert all(0 <= line["probability"] <= 1 for line in lines)
    assert figment(["export", str(output / "classifier"), "--images", str(tmp_path)]) == 0
    assert "of torch's on 1 images" in capsys.readouterr().out


def test_a_second_run_repeats_nothing_and_nothing_useless_is_left(output, config):
    files = [path for path in output.rglob("*") if path.is_file()]
    made = [path for path in files if path.suffix in {".npy", ".safetensors"} or path.parent.name == "images"]
    times = {path: path.stat().st_mtime_ns for path in (*made, output / "tuning.json")}
    assert len(times) > 12
    assert main([PIPELINE, "-c", str(config), "--again"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert not [path for path in files if path.suffix in {".pt", ".partial"}]


def test_interrupted_wherever_it_hurts_it_goes_on_and_ends_with_the_same_classifier(
    output, tmp_path, monkeypatch, capsys
):
    """Killed outright in the tuning, stopped by Ctrl-C in the synthesis and in the training."""
    config, again = write_config(tmp_path), tmp_path / "out"
    kill(config, again / "tuning.pt")
    assert not (again / "tuning.json").exists()
    rendered = interrupting(tracking.log_metrics, lambda step: len(list(again.glob("images/*.parquet"))) > 1)
    for name, interrupted, finished in (
        ("log_metrics", rendered, again / "images" / "MANIFEST.json"),
        ("curve", interrupted_curve(tracking.curve, 2), again / "classifier" / "model.safetensors"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(tracking, name, interrupted)
            assert main([PIPELINE, "-c", str(config)]) == 130
        assert "run the same command again" in capsys.readouterr().err
        assert not finished.exists()
    assert tuned_of(again) == tuned_of(output)
    assert main([PIPELINE, "-c", str(config)]) == 0
    for file in ("classifier/model.safetensors", "plan.parquet", "verdicts.parquet", "metrics.json"):
        assert (again / file).read_bytes() == (output / file).read_bytes(), file


def kill(config: Path, once_there: Path) -> None:
    """Run in a process of its own, and end that with no time to tidy up."""
    process = start(PIPELINE, config)
    deadline = time.monotonic() + 240
    while not once_there.exists() and process.exitcode is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL


def interrupting(log, reached):
    """``log_metrics`` that Ctrl-C strikes in, of the synthesis."""

    def call(name: str, values, step: int | None = None) -> None:
        log(name, values, step)
        if name == "synthesis" and reached(step):
            raise KeyboardInterrupt

    return call


def interrupted_curve(curve, last: int):
    """``curve`` whose log Ctrl-C strikes in at the step ``last`` of the training."""

    @contextmanager
    def call(stage: str):
        with curve(stage) as log:

            def logged(step: int, metrics) -> None:
                log(step, metrics)
                if stage == "training" and step == last:
                    raise KeyboardInterrupt

            yield logged

    return call


def test_without_tuning_and_with_quotas_the_generators_own_images_are_topped_up(tmp_path, capsys):
    quota = {"accepted": 5, "max_attempts": 60, "if_short": "go_on"}
    config = write_config(tmp_path, adaptation=None, quota=quota)
    assert main([PIPELINE, "-c", str(config)]) == 0
    out = tmp_path / "out"
    plan = pq.read_table(out / "plan_topped_up.parquet").to_pylist()
    verdicts = pq.read_table(out / "verdicts.parquet").to_pylist()
    tried = Counter(tuple(row["labels"]) for row in plan)
    passed = Counter(tuple(v["labels"]) for v in verdicts if v["accepted"])
    short = [names for names in SETS if passed[names] < 5]
    assert all(tried[names] == 60 for names in short)
    assert ("cannot reach 5 accepted images" in capsys.readouterr().err) == bool(short)
    assert max(tried.values()) > 6
    assert {row["adapter"] for row in plan} == {""}
    assert not (out / "tuning.json").exists()
    assert not (out / "adapters").exists()
    metrics = json.loads((out / "metrics.json").read_text())
    assert not any(name.startswith("adaptation/") for name in metrics)
    assert "Adaptation: the text encoder</h2>" not in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("prompts", {"chat": {"model": "models/pocket/chat", "max_new_tokens": 1}}, "class 'banana': no usable prompt in 3"),
        ("training", {"context": 64}, "training: 'airplane': 4 tokens around 64 of context do not fit"),
        ("data", {"source": "coco", "root": "coco"}, "data.root: 'coco' is not there"),
        ("generator", {"model": "models/pocket/none"}, "generator.model: 'models/pocket/none' is not there"),
        ("clip", {"model": "local-dir:models/none"}, "clip.model: 'models/none' is not there"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_one_sentence_before_anything_is_rendered(tmp_path, capsys, section, changes, sentence):
    path = write_config(tmp_path)
    config = yaml.safe_load(path.read_text())
    config["parameters"][section].update(changes)
    path.write_text(yaml.safe_dump(config))
    assert main([PIPELINE, "-c", str(path)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "out" / "plan.parquet").exists()
    if section in ("generator", "clip"):
        assert not (tmp_path / "out" / "answers").exists()  # nothing was asked
