"""``figment check``: all that is wrong with a config at once, one sentence each, before a library of a step is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from figment.cli import main
from figment.ops.config_check import checked
from figment.ops.config_files import has_split

CONFIGS = sorted(path for path in Path("configs").rglob("*.yaml") if path.parts[1] not in ("labels", "stacks"))
FIVE = {
    "bag_of_tricks": {
        "images_per_class": -1,
        "seed": 0.5,
        "generator.guidance_scale": float("nan"),
        "training.epohcs": 3,
        "output": "",
    },
    "tailored": {
        "training.image_size": 0,
        "adaptation.width": 12,
        "training.momentum": float("inf"),
        "acceptance.min_probabilty": 0.5,
        "seed": -1,
    },
    "semantic_diversity": {
        "training.twin_cosine": 2,
        "training.ks": [0],
        "data.source": "zip",
        "generated": "perhaps",
        "clip.modle": "x",
    },
    "few_shot": {
        "shots": True,
        "methods": {},
        "adaptation.probe.seed": -1,
        "training.head.learning_rate": "fast",
        "prompts.templates": ["a photo"],
    },
    "predict": {"top_k": 0, "batch_size": 2.5, "images": "x.jpg", "tags": "", "rendred": True},
}
ONE = {
    "a trick that is none": ("bag_of_tricks", {"tricks": ["base_clas"]}, "base_clas"),
    "a class that is none": ("bag_of_tricks", {"classes": ["aeroplan"]}, "aeroplan"),
    "a label file that is not there": ("bag_of_tricks", {"labels": "no/such.yaml"}, "no/such.yaml"),
    "a union of an unknown trick": ("bag_of_tricks", {"unions": {"u": {"nothing": 1}}}, "nothing"),
    "an output that is a file": ("tailored", {"output": "README.md/x"}, "parameters.output"),
    "a measure that is none": ("semantic_diversity", {"training.select_by": "validation/nonsense"}, "is not measured"),
    "a measure of other ks": ("semantic_diversity", {"training.select_by": "validation/F1@99"}, "is not measured"),
    "a measure of the test images": ("semantic_diversity", {"training.select_by": "zsl/mAP"}, "choose by test"),
    "a mask where there are none": (
        "few_shot",
        {"methods": {"m": {"images": 2, "mask": True}}},
        "data.masks names no folder",
    ),
    "masks of photos in Parquet": ("few_shot", {"data.masks": "masks"}, "masks belong to photos that are files"),
    "masks that are not there": (
        "few_shot",
        {"data.source": "folders", "data.masks": "none", "data.tests": {}},
        "data.masks: 'data/none' is not there",
    ),
    "the outside of no mask": ("few_shot", {"methods": {"m": {"invert": True}}}, "invert: true without mask"),
    "a method's name": ("few_shot", {"methods": {"a/b": {}}}, "a/b"),
    "an output where nothing can be written": ("tailored", {"output": "/proc/figment"}, "parameters.output"),
    "photos that are not there": ("bag_of_tricks", {"real.path": "no/photos"}, "real.path: 'no/photos' is not there"),
    "a review that is not there": ("bag_of_tricks", {"review": "no.csv"}, "review: 'no.csv' is not there"),
    "weights that are not there": (
        "bag_of_tricks",
        {"training.weights": "no.safetensors"},
        "training.weights: 'no.safet",
    ),
    "a LoRA that is not there": (
        "tailored",
        {"generator.loras": [{"file": "no.st"}]},
        "generator.loras.0.file: 'no.st'",
    ),
    "a generator's folder": (
        "bag_of_tricks",
        {"generator.model": "models/no/such"},
        "generator.model: 'models/no/such'",
    ),
    "a CLIP's folder": ("semantic_diversity", {"clip.model": "local-dir:no"}, "clip.model: 'no' is not there"),
    "a chat model's folder": ("tailored", {"prompts.chat.model": "./no"}, "prompts.chat.model: './no' is not there"),
    "a backbone's weights": ("few_shot", {"training.backbone.weights": "no.st"}, "backbone.weights: 'no.st'"),
    "an optimizer that is none": (
        "bag_of_tricks",
        {"training.optimizer": "adamx"},
        "training.optimizer: timm has no 'adamx'",
    ),
    "scores of another CLIP": ("bag_of_tricks", {"acceptance.scores": "sigmoid"}, "acceptance.scores: sigmoid is for"),
    "shots that are not there": ("few_shot", {"data.train": "none"}, "data.train: 'data/none' is not there"),
    "a test set that is not there": ("few_shot", {"data.tests.x": "none"}, "data.tests.x: 'data/none' is not there"),
    "one shot without a test set": ("few_shot", {"data.tests": {}, "shots": 1}, "shots: 1, but without a test set"),
    "a fine-tuning without a test set": (
        "few_shot",
        {"data.tests": {}, "training.finetune": {}},
        "training.finetune: has",
    ),
    "tagged images without splits": ("tailored", {"data.root": "configs"}, "data.root: 'configs' holds no train"),
    "a model that is not trained yet": ("predict", {"model": "no/model", "images": ["README.md"]}, "model: 'no/model'"),
}
SPLITS = {
    "an empty folder": [],
    "only a train split": ["train/cat/1.jpg", "train/dog/1.jpg"],
    "Parquet of another split": ["train-00000-of-00001.parquet"],
    "files that are no images": ["cat/1.txt", "notes.md"],
    "images that are in no class folder": ["1.jpg"],
}


def changed(tmp_path: Path, recipe: str, changes: dict, beside: dict | None = None) -> Path:
    text = Path(f"configs/pocket/{recipe}.yaml").read_text()
    config = yaml.safe_load(text) | (beside or {})
    for field, value in changes.items():
        place, *parents, last = config["parameters"], *field.split(".")
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    path = tmp_path / "config.yaml"
    path.write_text(text.splitlines()[0] + "\n" + yaml.safe_dump(config), encoding="utf-8")
    return path


def told(path: Path, capsys) -> list[str]:
    """The sentences of a check that finds faults."""
    assert main(["check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"error: {path}") for line in lines), lines
    return lines


def test_every_shipped_config_lacks_at_most_what_it_names():
    """Those of the papers name data sets, some others what an earlier run makes."""
    faults = {path: checked(path).faults for path in CONFIGS}
    assert [fault for found in faults.values() for fault in found if "' is not there; give" not in fault] == []
    assert {path.parent.name for path, found in faults.items() if found} == {"paper", "photos", "pocket"}
    assert faults[Path("configs/pocket/bag_of_tricks.yaml")] == []


@pytest.mark.parametrize("recipe", FIVE)
def test_five_faults_are_told_at_once(tmp_path, capsys, recipe):
    path = changed(tmp_path, recipe, FIVE[recipe])
    lines = told(path, capsys)
    assert len(lines) == 5, lines
    for field in FIVE[recipe]:
        *_, last = field.split(".")
        assert sum(last in line for line in lines) == 1, (field, lines)
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_is_told_with_an_example_of_what_would_be_right(tmp_path, capsys):
    (line,) = told(changed(tmp_path, "bag_of_tricks", {"generator.num_inference_steps": 0}), capsys)
    steps = yaml.safe_load(Path("configs/pocket/bag_of_tricks.yaml").read_text())["parameters"]["generator"]
    assert line.endswith(f"found 0; such as num_inference_steps: {steps['num_inference_steps']}")


@pytest.mark.parametrize(("recipe", "changes", "part"), ONE.values(), ids=ONE)
def test_what_a_pipeline_checks_itself_is_told_too(tmp_path, capsys, recipe, changes, part):
    (line,) = told(changed(tmp_path, recipe, changes), capsys)
    assert part in line


@pytest.mark.parametrize("files", SPLITS.values(), ids=SPLITS)
def test_real_images_without_the_split_that_measures(tmp_path, capsys, files):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (line,) = told(changed(tmp_path, "bag_of_tricks", {"real.path": str(folder)}), capsys)
    assert f"real.path: {str(folder)!r} holds no image of a split 'test'" in line


@pytest.mark.parametrize(
    "file", ["cat/1.jpg", "test/cat/deep/1.PNG", "test-00000-of-00001.parquet", "cifar/test_batch", "test"]
)
def test_each_layout_of_real_images_has_its_split(tmp_path, file):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert has_split(tmp_path, "test")


@pytest.mark.parametrize(("folders", "part"), [
    (["cat", "crane"], "has no folder of tower crane; folders of no class: 'crane'"),
    (["test/cat", "test/crane", "train/cat"], "has no folder of tower crane; folders of no class: 'crane'"),
    (["cat"], "has no folder of tower crane; rename"),
    (["cat", "Tower_Crane"], ""),
    (["2750/cat", "2750/tower crane"], ""),
])  # fmt: skip
def test_folders_that_are_nearly_the_classes(tmp_path, capsys, folders, part):
    for folder in folders:
        (tmp_path / "photos" / folder).mkdir(parents=True)
        (tmp_path / "photos" / folder / "1.jpg").touch()
    own = {"classes": ["cat", "tower crane"], "labels": None, "real.path": str(tmp_path / "photos")}
    path = changed(tmp_path, "bag_of_tricks", own)
    assert [part in fault for fault in checked(path).faults] == ([True] if part else [])


def test_what_steps_read_elsewhere_is_not_missed_here(tmp_path, monkeypatch):
    monkeypatch.setenv("FIGMENT_STORE", "s3://bucket/figment")
    assert checked(changed(tmp_path, "bag_of_tricks", {"real.path": "no/photos"})).faults == []


@pytest.mark.parametrize("parameters", [{"labels": {}}, {"seed": 3}, {"classes": ["a"]}], ids=repr)
def test_parameters_given_to_a_step_would_bypass_the_types_and_are_refused(tmp_path, capsys, parameters):
    steps = {"choose_labels": {"parameters": parameters}}
    (line,) = told(changed(tmp_path, "bag_of_tricks", {}, {"steps": steps}), capsys)
    assert "steps.choose_labels.parameters: found" in line


def test_faults_beside_the_parameters_are_told_with_those_within(tmp_path, capsys):
    beside = {"setings": {}, "steps": {"choose_label": {}, "plan_images": 5}, "settings": {"dokcer": {}}}
    lines = told(changed(tmp_path, "bag_of_tricks", {"seed": -1}, beside), capsys)
    assert len(lines) == 5
    for part in ("'setings'", "'choose_label'", "steps.plan_images", "'dokcer'", "parameters.seed"):
        assert any(part in line for line in lines), part


@pytest.mark.parametrize("text", ["parameters: {x: 1}", "", "5", "parameters: [", "a: 1\na: 2", "\0"], ids=repr)
def test_what_is_no_config_at_all_is_one_sentence(tmp_path, capsys, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert len(told(path, capsys)) == 1


def test_a_check_imports_no_step_and_no_library_of_one():
    code = f"import sys; from figment.cli import main; code = main(['check', *{list(map(str, CONFIGS))}]); "
    heavy = "{'zenml', 'mlflow', 'dvc', 'great_expectations', 'diffusers', 'transformers', 'timm', 'steps', 'torch'}"
    found = subprocess.run(
        [sys.executable, "-c", f"{code} print(code, sorted({heavy} & set(sys.modules)))"],
        capture_output=True,
        text=True,
    )
    assert found.stdout.splitlines()[-1] == "2 []", found.stderr  # the papers' data are not there


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("figment 0.")
