"""Few-shot, whole: killed at every stage and run again, its numbers in every place that shows them, real photographs."""

import json
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from figment.cli import main as figment
from figment.imports.contract import Options
from figment.imports.registry import import_source
from figment.metrics.accuracy import macro_accuracy
from figment.ops.run import main
from figment.training.banks import load_features
from figment.training.kinds.registry import open_model
from tests.e2e.processes import start

PIPELINE = "pipelines.few_shot.few_shot"
TRACKING = os.environ["MLFLOW_TRACKING_URI"]  # of this worker
GATES = {"plan", "verdicts", "shots", "test_photos_same_artists", "test_photos_other_artists", "made_images"}
pytestmark = pytest.mark.slow


def write_config(folder: Path, source: str = "few_shot", **changes) -> Path:
    """A pocket config, smaller."""
    config = yaml.safe_load(Path(f"configs/pocket/{source}.yaml").read_text())
    parameters = config["parameters"]
    parameters.update(classes=["dog", "frog", "truck"], shots=2, output=str(folder / "out"))
    for method in parameters["methods"].values():
        method.update({"images": 6} if "images" in method else {})
    parameters["adaptation"]["inversion"]["steps"] = 20
    parameters["generator"]["num_inference_steps"] = 8
    parameters["synthesis"]["shard_size"] = 32
    parameters["training"]["views"] = 5
    for part in ("head", "filter"):
        parameters["training"][part].update(steps=200, validate_every=100)
    for name, value in changes.items():
        parameters[name] = {**parameters[name], **value} if isinstance(value, dict) and name != "methods" else value
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_config(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def output(config) -> Path:
    assert main([PIPELINE, "-c", str(config)]) == 0
    return config.parent / "out"


def test_every_method_has_its_images_and_its_row(output):
    results = json.loads((output / "few_shot.json").read_text())
    methods = list(yaml.safe_load((output.parent / "config.yaml").read_text())["parameters"]["methods"])
    assert [row["name"] for row in results["rows"]] == ["CLIP zero-shot", *methods]
    assert results["images"] == {"same_artists": 240, "other_artists": 120}
    assert {row["name"]: row["made"] for row in results["rows"][1:]} == {
        name: 0 if name in ("none", "standard") else 3 * 2 * 6 for name in methods
    }
    plan = pq.read_table(output / "plan.parquet").to_pylist()
    assert len(plan) == 5 * 36  # weights learns from da_fusion's images
    assert {row["trick"] for row in plan} == {
        "name", "concept", "concept_noise", "concept_contexts", "concept_noise_contexts"
    }  # fmt: skip
    for row in plan:
        assert (output / "sources" / row["initial_image"]).is_file()
        assert (f"<{row['labels'][0]}>" in row["prompt"]) == bool(row["concept"])
    assert all(row["tests"]["same_artists"]["value"] > 0.5 for row in results["rows"])


def test_the_report_mlflow_and_dvc_metrics_agree(output):
    results = json.loads((output / "few_shot.json").read_text())
    metrics = json.loads((output / "metrics.json").read_text())
    html = (output / "report.html").read_text()
    client = mlflow.MlflowClient(TRACKING)
    run = client.get_run(json.loads((output / "lineage.json").read_text())["mlflow_run"])
    within = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    children = {child.info.run_name: child for child in client.search_runs([run.info.experiment_id], within)}
    assert {"real_guidance", "all"} < children.keys()
    for row in results["rows"]:
        for test, found in row["tests"].items():
            assert metrics[f"{row['name']}/{test}"] == pytest.approx(found["value"], abs=1e-4)
            if row["name"] in children:
                logged = children[row["name"]].data.metrics[f"evaluation/accuracy/{test}"]
                assert logged == pytest.approx(found["value"])
            assert f"<td>{100 * found['value']:.1f} [" in html
    assert set(results["diversity"]) == {"real_guidance", "da_fusion", "noise", "prompts", "weights", "all"}
    assert html.count("<figure") == 3 * 2 * (1 + 6)
    assert "report.html" in {item.path for item in client.list_artifacts(run.info.run_id)}


def test_the_registered_classifier_predicts_at_any_batch_size(output):
    mlflow.set_tracking_uri(TRACKING)
    version = (output / "registered.txt").read_text()
    model = mlflow.pyfunc.load_model(f"models:/figment-few-shot/{version}")
    for batch in (1, 3):
        answers = model.predict(np.random.default_rng(0).random((batch, 3, 32, 32), dtype=np.float32))
        assert [len(answer["scores"]) for answer in answers] == [3] * batch
        assert all(sum(answer["scores"].values()) == pytest.approx(1, abs=1e-4) for answer in answers)


def test_the_chain_is_told_from_the_image_and_from_the_model(output, capsys):
    image_id = pq.read_table(output / "heads/all" / "training_list.parquet")["image_id"][0].as_py()
    version = (output / "registered.txt").read_text()
    assert figment(["trace", image_id[:16], "--plan", str(output / "plan.parquet")]) == 0
    said = capsys.readouterr().out
    assert f"{output}/heads/all: figment-few-shot version {version} (challenger" in said
    assert "figment replay" in said
    assert figment(["why", "figment-few-shot@challenger"]) == 0
    said = capsys.readouterr().out
    assert "zenml pipeline run pipelines.few_shot.few_shot -c" in said
    assert "trained on" in said
    card = (output / "heads/all" / "model_card.md").read_text()
    assert "## Licences" in card
    assert "generated images from" in card
    lineage = json.loads((output / "lineage.json").read_text())
    assert {"plan.parquet", "images", "report.html"} <= set(lineage["outputs"])
    assert {page.stem for page in (output / "gates").glob("*.html")} >= GATES


def test_its_classifier_predicts_and_is_exported(output, tmp_path, capsys):
    Image.effect_noise((40, 30), 90).save(tmp_path / "a.png")
    assert figment(["predict", str(tmp_path / "a.png"), "--model", str(output / "heads/all")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1
    assert all(0 <= line["probability"] <= 1 for line in lines)
    assert figment(["export", str(output / "heads/all"), "--images", str(tmp_path)]) == 0
    assert "of torch's on 1 images" in capsys.readouterr().out


def test_a_second_run_repeats_nothing(output, config):
    kept = [*output.glob("images/*.parquet"), *output.rglob("*.safetensors"), *output.glob("answers/*/*")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(times) > 10
    assert main([PIPELINE, "-c", str(config), "--again"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.timeout(2400)  # five runs
def test_killed_at_any_stage_it_ends_as_if_nothing_had_happened(output, tmp_path):
    """kill -9 as soon as each stage's first file is there; the last run goes through."""
    config = write_config(tmp_path)
    again = tmp_path / "out"
    for sign in ("adapters/*.safetensors", "images/*.parquet", "heads/da_fusion/model.safetensors"):
        process = start(PIPELINE, config)
        deadline = time.monotonic() + 600
        while process.exitcode is None and not list(again.glob(sign)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, sign
    assert main([PIPELINE, "-c", str(config)]) == 0
    for name in ("few_shot.json", "contexts.csv", "metrics.json"):
        assert (again / name).read_bytes() == (output / name).read_bytes()
    assert pq.read_table(again / "verdicts.parquet").equals(pq.read_table(output / "verdicts.parquet"))


def test_photos_alone_need_no_generator(tmp_path):
    config = write_config(
        tmp_path, methods={"standard": {}, "none": {"augment": False}}, generator={"model": "nowhere"}
    )
    assert main([PIPELINE, "-c", str(config)]) == 0
    assert not (tmp_path / "out" / "images").exists()
    assert not (tmp_path / "out" / "plan.parquet").exists()


def test_seeds_are_children_of_one_run_with_their_mean(tmp_path):
    config = write_config(tmp_path, methods={"standard": {}})
    assert main([PIPELINE, "-c", str(config), "--seeds", "0", "3"]) == 0
    found = [json.loads((tmp_path / "out" / f"seed_{seed}" / "metrics.json").read_text()) for seed in (0, 3)]
    photos = [pq.read_table(tmp_path / "out" / f"seed_{seed}" / "photos.parquet") for seed in (0, 3)]
    assert not photos[0].equals(photos[1])  # other shots
    name, client = "standard/same_artists", mlflow.MlflowClient(TRACKING)
    mean = (found[0][name] + found[1][name]) / 2
    assert json.loads((tmp_path / "out" / "seeds.json").read_text())["metrics"][name]["value"] == pytest.approx(mean)
    parent = client.search_runs([client.get_experiment_by_name("few_shot").experiment_id], max_results=1)[0]
    assert parent.data.metrics[f"evaluation/{name}"] == pytest.approx(mean)
    lineages = [json.loads((tmp_path / "out" / f"seed_{seed}" / "lineage.json").read_text()) for seed in (0, 3)]
    for lineage in lineages:
        assert client.get_run(lineage["mlflow_run"]).data.tags["mlflow.parentRunId"] == parent.info.run_id


def check_fine_tuned(output: Path, methods: Collection[str]):
    """Every method's backbone has learned from its own images, and what it says of the test photos is what is reported."""
    results = json.loads((output / "few_shot.json").read_text())
    for name in methods:
        tuned, frozen = (open_model(output / folder / name) for folder in ("finetuned", "heads"))
        head, before = tuned.network.head, frozen.settings
        assert (tuned.settings.kept, tuned.settings.made, before.finetuned) == (4, before.made, False)
        assert not head.weight.equal(frozen.network.head.weight)
        tests = load_features(output / "finetuned" / name / "tests.safetensors")
        (photos,) = (output / "features").glob("photos-*.safetensors")
        base = load_features(photos)
        assert set(tests) == {"same_artists", "other_artists"}
        (row,) = [row for row in results["rows"] if row["name"] == name]
        for test, found in tests.items():
            assert not found.features.equal(base[f"test/{test}"].features)
            accuracy = macro_accuracy(head(found.features[:, 0]), found.labels)
            assert row["tests"][test]["value"] == pytest.approx(accuracy)


def test_a_word_that_fails_its_probe_is_not_used_and_that_is_said(tmp_path, capfd):
    methods = {"standard": {}, "all": {"images": 2, "concepts": True}}
    config = write_config(
        tmp_path, methods=methods,
        adaptation={"probe": {"retrieval": 1.0}, "inversion": {"steps": 1, "initialise": "neutral"}},
        training={"finetune": {"steps": 4, "validate_every": 2}},
    )  # fmt: skip
    assert main([PIPELINE, "-c", str(config)]) == 0
    check_fine_tuned(tmp_path / "out", methods)
    probes = json.loads((tmp_path / "out" / "words.json").read_text())["probes"]
    failed = [name for name, probe in probes.items() if not probe["usable"]]
    assert failed
    said = capfd.readouterr().err
    plan = pq.read_table(tmp_path / "out" / "plan.parquet").to_pylist()
    for name in failed:
        assert f"warning: the word learned for {name!r} is not used: " in said
        assert {row["prompt"] for row in plan if row["labels"] == [name]} == {f"a photo of a {name}"}


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three photos of each class, two test photos."""
    for split, count in (("train", 3), ("test", 2)):
        for name in ("dog", "frog", "truck"):
            for i in range(count):
                path = tmp_path / "photos" / split / name / f"{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 30), (60 * i, 90, 200)).save(path)
    return tmp_path / "photos"


def lose_a_photo(photos: Path):
    for i in (1, 2):
        (photos / "train" / "frog" / f"{i}.jpg").unlink()


def corrupt_a_shot(photos: Path):
    for path in (photos / "train" / "truck").iterdir():
        path.write_bytes(path.read_bytes()[:100])


def corrupt_a_test_photo(photos: Path):
    (photos / "test" / "dog" / "1.jpg").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lose_a_photo, "class 'frog': 1 photos for 2 shots; add photos of it, or ask for fewer shots"),
        (corrupt_a_shot, "truck/"),
        (corrupt_a_test_photo, "test/dog/1.jpg: not a readable image"),
    ],
)
def test_bad_photos_end_a_run_before_anything_is_made(photos, tmp_path, capsys, harm, sentence):
    harm(photos)
    data = {"source": "folders", "root": str(photos), "train": "train", "tests": {"test": "test"}}
    config = write_config(tmp_path, data=data)
    assert main([PIPELINE, "-c", str(config)]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert sentence in error
    assert not (tmp_path / "out" / "adapters").exists()
    assert not (tmp_path / "out" / "images").exists()


@pytest.mark.parametrize(
    ("section", "model", "sentence"),
    [
        (
            "generator",
            "models/pocket/none",
            "generator.model: 'models/pocket/none' is not there; give the folder of a model",
        ),
        ("clip", "local-dir:models/none", "clip.model: 'models/none' is not there; give the folder of a model"),
    ],
)
def test_a_model_that_is_not_there_ends_a_run_before_anything_is_asked(tmp_path, capsys, section, model, sentence):
    config = write_config(tmp_path, **{section: {"model": model}})
    assert main([PIPELINE, "-c", str(config)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_csv_with_a_bad_line_ends_a_run_before_anything_is_made(tmp_path, capsys):
    (tmp_path / "prompts.csv").write_text("class_name;class_idx;prompt\ndog;1;a {name}; at night\n")
    config = write_config(tmp_path)
    changed = yaml.safe_load(config.read_text())
    changed["parameters"]["prompts"] = {"file": str(tmp_path / "prompts.csv")}
    config.write_text(yaml.safe_dump(changed, sort_keys=False))
    assert main([PIPELINE, "-c", str(config)]) == 2
    assert (
        "prompts.csv line 2: 4 fields; expected 3, with quotes around one that holds a ';'" in capsys.readouterr().err
    )
    assert not (tmp_path / "out" / "images").exists()
    assert not (tmp_path / "out" / "adapters").exists(), "steps that do not need the CSV are not run for nothing either"


def test_a_misspelt_field_of_a_method_is_answered_with_the_nearest(tmp_path, capsys):
    config = write_config(tmp_path, methods={"all": {"image": 3}})
    assert main([PIPELINE, "-c", str(config)]) == 2
    assert "methods.all.image is not known; did you mean 'images'?" in capsys.readouterr().err


def test_real_photographs_flow_through(custom_coco_folder, tmp_path):
    """Custom COCO: phone photographs in folders, whatever the pocket models make of them."""
    classes = ["bicycle", "cell_phone", "potted_plant", "traffic_light"]
    data = {"root": str(custom_coco_folder)}
    config = write_config(tmp_path, "few_shot_custom_coco", classes=classes, data=data)
    assert main([PIPELINE, "-c", str(config)]) == 0
    results = json.loads((tmp_path / "out" / "few_shot.json").read_text())
    assert results["images"] == {"test": 4 * 16}
    assert [row["made"] for row in results["rows"]] == [None, 0, 0, 4 * 2 * 6, 4 * 2 * 6]
    plan = pq.read_table(tmp_path / "out" / "plan.parquet").to_pylist()
    assert {"a photo of a cell phone", "a photo of a potted plant"} <= {row["prompt"] for row in plan}


def test_several_numbers_of_shots_are_runs_that_share_images(tmp_path):
    counts = dict.fromkeys(("dog", "frog", "truck"), 0)
    for row in pq.read_table("data/drawings/test.parquet").to_pylist():
        if counts.get(row["label"], 3) < 3:
            counts[row["label"]] += 1
            file = tmp_path / "source" / row["label"] / f"{counts[row['label']]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(row["image"]["bytes"])
    import_source("folder", tmp_path / "source", Options(), tmp_path / "mine")
    methods = {"standard": {}, "names": {"images": 2, "augment": False}, "drawings": {"imported": True}}
    others = {"tests": {"same_artists": "real"}}  # not the drawings that are imported, which the gate would refuse
    mine = [str(tmp_path / "mine")]
    config = write_config(tmp_path, shots=[2, 1], methods=methods, imported=mine, data=others)
    assert figment(["check", str(config)]) == 0
    assert main([PIPELINE, "-c", str(config)]) == 0
    one, two = (tmp_path / "out" / f"shots_{count}" for count in (1, 2))
    plans = [set(pq.read_table(folder / "plan.parquet")["image_id"].to_pylist()) for folder in (one, two)]
    assert plans[0] < plans[1]
    assert (len(plans[0]), len(plans[1])) == (6 + 9, 12 + 9)
    for folder in (one, two):
        made = {row["name"]: row["made"] for row in json.loads((folder / "few_shot.json").read_text())["rows"]}
        assert made["drawings"] == 9
    images = [{row["image_id"]: row["image"]["bytes"] for row in pool_rows(folder)} for folder in (one, two)]
    assert images[0].items() <= images[1].items()
    copied = [shard for shard in shards_of(two) if shard["file"] in {found["file"] for found in shards_of(one)}]
    assert sum(shard["rows"] for shard in copied) == 6 + 9
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    for count, folder in ((1, one), (2, two)):
        for name, value in json.loads((folder / "metrics.json").read_text()).items():
            assert metrics[f"{count} shots/{name}"] == value
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["columns"] == ["trained on / test set", "1 shots", "2 shots"]
    assert Path(summary["model"]).is_relative_to(two)


def shards_of(folder: Path) -> list[dict]:
    return json.loads((folder / "images/MANIFEST.json").read_text())["shards"]


def pool_rows(folder: Path) -> list[dict]:
    return [row for shard in shards_of(folder) for row in pq.read_table(folder / "images" / shard["file"]).to_pylist()]
