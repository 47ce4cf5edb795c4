"""The first config of a new user: short, valid, and honest about what the embedded models know."""

import json
import re
from pathlib import Path

import pytest
import yaml

from figment.cli import main
from figment.ops.config_check import checked
from figment.ops.new_config import RECIPES

LABELS = "labels: [{name: cat}, {name: dog}, {name: frog, unseen: true}, {name: car, unseen: true}]"
MODELS = ("pocket", "stable-diffusion-v1-5/stable-diffusion-v1-5", "models/pocket/diffusion")
BLOCK = re.compile(r"```yaml\n(# recipe: .*?)```", re.S)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("shots/cat", "shots/dog", "test/cat", "test/dog", "test/.hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").touch()
    for split in ("train", "test"):
        (tmp_path / f"shots/{split}.parquet").touch()
    (tmp_path / "labels.yaml").write_text(LABELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(recipe: str) -> list[str]:
    photos = [] if recipe == "bag_of_tricks" else ["--photos", "shots"]
    return ["--recipe", recipe, *photos, "--test", "test", "--labels", "labels.yaml"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_new_config_is_short_and_valid(folder, capsys, recipe, model):
    assert main(["new", "mine.yaml", *given(recipe), "--model", model]) == 0
    told = capsys.readouterr()
    assert "figment run mine.yaml" in told.out
    assert not told.err
    assert len(Path("mine.yaml").read_text().splitlines()) <= 12
    found = checked(Path("mine.yaml"))
    assert (found.pipeline, found.faults) == (recipe, [])
    assert found.parameters["output"] == "artifacts/mine"
    if recipe in ("bag_of_tricks", "few_shot"):
        assert found.parameters["classes"] == ["cat", "dog"]


def test_a_few_photos_need_no_test_set(folder):
    assert main(["new", "mine.yaml", "--recipe", "few_shot", "--photos", "shots"]) == 0
    data = checked(Path("mine.yaml")).parameters["data"]
    assert (data.root, data.train, data.tests, data.cross_validated) == (".", "shots", {}, True)


def write_coco(folder: Path, split: str, names: list[str]) -> None:
    """An image of each of these categories, of which there are four."""
    categories = [{"id": 5 + i, "name": name} for i, name in enumerate(("cat", "dog", "frog", "car"))]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(len(names))]
    ids = {category["name"]: category["id"] for category in categories}
    annotations = [{"id": i, "image_id": i, "category_id": ids[name]} for i, name in enumerate(names)]
    (folder / f"{split}.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    (folder / split).mkdir()
    for image in images:
        (folder / split / image["file_name"]).touch()


@pytest.mark.parametrize("recipe", ["tailored", "semantic_diversity"])
def test_own_coco_files_say_themselves_which_labels_are_unseen(folder, recipe):
    (folder / "mine").mkdir()
    write_coco(folder / "mine", "train", ["cat", "dog"])
    write_coco(folder / "mine", "test", ["dog", "car", "frog"])
    files = ["--photos", "mine/train.json", "--test", "mine/test.json"]
    assert main(["new", "mine.yaml", "--recipe", recipe, *files]) == 0
    found = checked(Path("mine.yaml"))
    data = found.parameters["data"]
    assert (found.faults, data.seen, data.unseen) == ([], ("cat", "dog"), ("frog", "car"))
    places = [(files.annotations, files.images) for files in (data.train, data.test)]
    assert places == [("mine/train.json", "mine/train"), ("mine/test.json", "mine/test")]


COCO = {  # categories of train, of test, the test file, what is told
    "no test": (["cat"], ["dog"], None, "--test: give the annotation file of the images that measure"),
    "a test folder": (["cat"], ["dog"], "mine/test", "--test: give the annotation file"),
    "nothing unseen": (["cat", "dog"], ["dog"], "mine/test.json", "test.json: shows no category that"),
    "no image": (["cat"], [], "mine/test.json", "test.json: its 0 images are neither beside it"),
    "no annotations": (["cat"], ["dog"], "mine/other.json", "other.json: has no list 'images'"),
}


def test_images_that_may_be_in_either_of_two_folders_are_not_guessed(folder, capsys):
    (folder / "mine").mkdir()
    write_coco(folder / "mine", "train", ["cat"])
    write_coco(folder / "mine", "test", ["dog"])
    (folder / "mine/train.json").rename(folder / "mine/all.json")
    files = ["--photos", "mine/all.json", "--test", "mine/test.json"]
    assert main(["new", "mine.yaml", "--recipe", "tailored", *files]) == 2
    assert "all.json: its 1 images are in mine/test and in mine/train" in capsys.readouterr().err


@pytest.mark.parametrize("name", COCO)
def test_coco_files_that_will_not_do_are_one_sentence(folder, capsys, name):
    train, test, file, told = COCO[name]
    (folder / "mine").mkdir()
    (folder / "mine/other.json").write_text("{}")
    write_coco(folder / "mine", "train", train)
    write_coco(folder / "mine", "test", test)
    files = ["--photos", "mine/train.json", *(["--test", file] if file else [])]
    assert main(["new", "mine.yaml", "--recipe", "tailored", *files]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not Path("mine.yaml").exists()


@pytest.mark.parametrize(
    ("classes", "names"),
    [("excavator, tower crane", ["excavator", "tower crane"]), ("names.txt", ["yes", "Käfer", "12"])],
)
def test_names_are_taken_as_they_are_and_what_the_model_cannot_paint_is_told(folder, capsys, classes, names):
    Path("names.txt").write_text("yes\n\nKäfer\n12\n", encoding="utf-8")
    assert main(["new", "mine.yaml", "--classes", classes, "--test", "test"]) == 0
    assert yaml.safe_load(Path("mine.yaml").read_text())["parameters"]["classes"] == names
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the embedded generator paints 32 objects, and not {', '.join(names)};")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--classes 'excavator, crane'"),
        (["--classes", "a, b"], "--test is not given"),
        (["--classes", "a", "--test", "test"], "only 'a' is listed"),
        (["--classes", "a, A", "--test", "test"], "listed more than once"),
        (["--classes", "a, ../b", "--test", "test"], "contains '/'"),
        (["--test", "shots/cat"], "no class is listed"),
        (["--recipe", "few_shot", "--test", "test", "--classes", "a, b"], "--photos is not given"),
        (["--recipe", "few_shot", "--photos", "test", "--test", "test"], "the training photos"),
        (["--recipe", "tailored", "--photos", "shots"], "--labels is not given"),
        (["--classes", "a, b", "--test", "test", "--model", " "], "the path is empty"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_no_file(folder, capsys, arguments, sentence):
    assert main(["new", "mine.yaml", *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert sentence in lines[0]
    assert not Path("mine.yaml").exists()


def test_a_file_is_never_replaced(folder, capsys):
    Path("mine.yaml").write_text("mine")
    assert main(["new", "mine.yaml", "--test", "test"]) == 2
    assert Path("mine.yaml").read_text() == "mine"


def test_the_smallest_config_of_each_recipe_is_in_the_docs(tmp_path):
    pages = sorted(Path("docs/recipes").glob("*.md"))
    blocks = [block for page in pages for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    found = []
    for number, block in enumerate(blocks):
        assert len(block.splitlines()) <= 12, block
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        one = checked(path)
        assert all("' is not there; give" in fault for fault in one.faults)
        found.append(one.pipeline)
    assert set(found) == set(RECIPES)
