"""Recipes of different papers combined, whole: each shipped combination, smaller, from the config to the registered model."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from figment.cli import main as figment
from figment.labels import LabelSpace
from figment.ops.run import main
from figment.training.kinds.registry import open_model
from pocket.data_sets import write_scenes

PIPELINE = "pipelines.custom.custom"
UNSEEN = ("banana", "dog", "truck")
SHIPPED = {"heads": "classifier"}  # of others the config that they are changes of
pytestmark = pytest.mark.slow


def write_config(folder: Path, recipe: str) -> Path:
    """The pocket config, smaller. Every image passes: what so few steps paint is of no interest here."""
    config = yaml.safe_load(Path(f"configs/pocket/custom_{SHIPPED.get(recipe, recipe)}.yaml").read_text())
    parameters = config["parameters"]
    if recipe in ("classifier", "heads"):
        parameters["data"].update(classes=["car", "frog"])
        parameters["data"]["real"].update(test_per_class=10, train_per_class=10)
        parameters["acceptance"].update(min_probability=0, require_top1=False, min_contrast=0)
        parameters["training"].update(steps=20)
    else:
        space = yaml.safe_load(Path("configs/labels/pocket_24_8.yaml").read_text())
        labels = [{**label, "unseen": label["name"] in UNSEEN} for label in space["labels"]]
        (folder / "labels.yaml").write_text(yaml.safe_dump({"labels": labels}))
        write_scenes(folder / "scenes", LabelSpace.load(folder / "labels.yaml"), train=200, test=120, seed=0)
        parameters["data"].update(labels=str(folder / "labels.yaml"), root=str(folder / "scenes"), seen=[], unseen=[])
        parameters["training"].update(epochs=2)
    if recipe == "semantic":
        parameters["prompts"][0].update(per_pair=3)
        parameters["adaptation"].update(
            steps=4, batch_size=2, learning_rate=0.001, num_inference_steps=2, differentiated_steps=None,
            evaluate_every=2, evaluated_images=6, evaluation_batch=6,
        )  # fmt: skip
        parameters["acceptance"] = {"kind": "nus", "top_k": 32, "extra_probability": 1, "min_contrast": 0}
    else:
        parameters["photos"].update(shots=2)
        parameters["adaptation"].update(inversion={"steps": 3}, probe={"images": 2, "retrieval": 0})
    if recipe == "classifier":
        parameters["data"]["real"].update(unlabelled="data/real/unlabelled.parquet", shots=2)
    if recipe == "heads":
        parameters["prompts"] = [{"kind": "tricks", "tricks": ["base_class"]}]
        parameters["adaptation"] = {"kind": "lora", "steps": 2, "rank": 2, "probe": {"images": 2, "retrieval": 0}}
        parameters["training"] = {
            "kind": "few_shot_head",
            "backbone": {"model": "open_clip:local-dir:models/pocket/clip", "image_size": 32},
            "views": 5,
            "head": {"steps": 100, "learning_rate": 0.001},
        }
    if recipe == "prompts":
        parameters["acceptance"].update(min_probability=0, require_top1=False, min_contrast=0)
        parameters["acceptance"]["head"].update(steps=20)
        parameters["prompts"] = [{"kind": "contexts", "templates": ["a photo of a {name} on the grass"]}]
    parameters["planner"].update(images=3)
    parameters["generator"].update(num_inference_steps=4)
    parameters["synthesis"].update(batch_size=8, shard_size=16)
    parameters.update(gates={"max_duplicates": 1.0, "max_leakage": 1.0}, output=str(folder / "out"))
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Calls a combination once; returns its output."""
    done: dict[str, Path] = {}

    def of(recipe: str) -> Path:
        if recipe not in done:
            config = write_config(tmp_path_factory.mktemp(recipe), recipe)
            assert main([PIPELINE, "-c", str(config)]) == 0
            done[recipe] = config.parent / "out"
        return done[recipe]

    return of


def rows_of(output: Path, name: str) -> list[dict]:
    return pq.read_table(output / f"{name}.parquet").to_pylist()


def test_tricks_and_contexts_ask_for_learned_words_of_one_classifier(run):
    output = run("classifier")
    words = json.loads((output / "words.json").read_text())["words"]
    assert set(words["lengths"]) == {"car", "frog"}
    plan = rows_of(output, "plan")
    assert {row["trick"] for row in plan} == {"base_class", "multi_domain", "random_guidance", "contexts"}
    assert len(plan) == 2 * 4 * 3
    assert {row["recipe"] for row in plan} == {"custom"}
    assert all(row["concept"] == row["labels"][0] and f"<{row['concept']}>" in row["prompt"] for row in plan)
    assert {row["adapter"] for row in plan} == {words["adapter"]}
    assert len({row["guidance_scale"] for row in plan if row["trick"] == "random_guidance"}) > 1
    results = json.loads((output / "results.json").read_text())
    clip, students = (
        ["CLIP with unlabelled", "CLIP with 2 shots"],
        ["combined with unlabelled", "combined with unlabelled and 2 shots"],
    )
    added = [*clip, *(name for each in students for name in (each, f"{each} fused with CLIP"))]
    assert [row["name"] for row in results["rows"]] == ["chance", "CLIP zero-shot", "combined", "real", *added]
    assert results["confusion_of"] == students[-1]
    gates = {file.stem for file in (output / "gates").glob("*.json")}
    assert {"unlabelled_images", "real_shots"} <= gates
    fused = output / "classifiers" / "combined_with_unlabelled_and_2_shots_fused_with_CLIP"
    assert open_model(fused).kind.name == "clip"
    assert figment(["evaluate", str(fused), "--data", "data/drawings/test.parquet"]) == 0
    chosen = pq.read_table(output / "classifiers" / "combined" / "training_list.parquet")
    assert sorted(chosen["image_id"].to_pylist()) == [row["image_id"] for row in plan]


def test_tailored_prompts_and_a_tuned_text_encoder_make_images_for_a_matrix(run):
    output = run("semantic")
    adapter = json.loads((output / "tuning.json").read_text())["adapter"]
    plan = rows_of(output, "plan")
    assert {row["adapter"] for row in plan} == {adapter}
    assert {len(row["labels"]) for row in plan} == {1, 2}
    assert {name for row in plan for name in row["labels"]} == set(UNSEEN)
    splits = json.loads((output / "splits_with_made" / "splits.json").read_text())
    assert splits["made"] == sum(row["accepted"] for row in rows_of(output, "verdicts")) == len(plan)
    metrics = json.loads((output / "metrics.json").read_text())
    assert 0 < metrics["zsl/mAP"] <= 1


def test_images_of_photos_pass_a_filter_and_teach_dual_prompts(run):
    output = run("prompts")
    photos, plan = rows_of(output, "photos"), rows_of(output, "plan")
    assert len(photos) == 3 * 2
    assert {row["initial_image"] for row in plan} == {photo["image"] for photo in photos}
    assert {(row["recipe"], row["trick"]) for row in plan} == {("custom", "concept_noise_contexts")}
    assert len(plan) == len(photos) * 3
    assert json.loads((output / "filter.json").read_text())["temperature"] > 0
    verdicts = rows_of(output, "verdicts")
    assert [row["image_id"] for row in verdicts] == [row["image_id"] for row in plan]
    assert len({row["probability"] for row in verdicts}) > 1
    history = json.loads((output / "classifier" / "history.json").read_text())
    assert history["made"] == len(plan)


def test_loras_make_the_images_of_few_shot_heads(run):
    output = run("heads")
    loras = json.loads((output / "loras.json").read_text())["loras"]
    plan = rows_of(output, "plan")
    assert set(loras) == {"car", "frog"}
    assert {row["adapter"] for row in plan} == set(loras.values())
    results = json.loads((output / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["chance", "CLIP zero-shot", "standard", "combined"]
    assert [row["images"] for row in results["rows"][2:]] == [2 * 2, 2 * 2 + len(plan)]
    chosen = pq.read_table(output / "heads" / "combined" / "training_list.parquet")
    assert sorted(chosen["image_id"].to_pylist()) == [row["image_id"] for row in plan]


@pytest.mark.parametrize(
    ("recipe", "model", "kind", "found"),
    [
        ("classifier", "classifiers/combined", "timm", "Adaptation: learned words"),
        ("semantic", "model", "semantic_matrix", "Adaptation: the text encoder"),
        ("prompts", "classifier", "dual_prompt", "Validation: the filter"),
        ("heads", "heads/combined", "few_shot_head", "Adaptation: learned LoRAs"),
    ],
)
def test_a_combination_ends_as_every_recipe_does(run, capsys, recipe, model, kind, found):
    output = run(recipe)
    trained = open_model(output / model)
    assert trained.kind.name == kind
    scores = trained.scorer()(torch.rand(2, 3, 32, 32))
    assert scores.shape == (2, len(trained.saved.labels))
    html = (output / "report.html").read_text()
    assert "What was combined</h2>" in html
    assert f"{found}</h2>" in html
    assert (output / "registered.txt").read_text().isdigit()
    assert json.loads((output / "lineage.json").read_text())["pipeline"] == PIPELINE
    image_id = rows_of(output, "plan")[0]["image_id"]
    capsys.readouterr()
    assert figment(["trace", image_id, "--plan", str(output / "plan.parquet")]) == 0
    assert "verdicts    accepted: " in capsys.readouterr().out


def test_a_second_run_does_nothing_again(run):
    output = run("prompts")
    names = ("words.json", "plan.parquet", "verdicts.parquet", "classifier/model.safetensors")
    before = {name: (output / name).stat().st_mtime_ns for name in names if name != "plan.parquet"}
    assert main([PIPELINE, "-c", str(output.parent / "config.yaml")]) == 0
    assert {name: (output / name).stat().st_mtime_ns for name in before} == before
