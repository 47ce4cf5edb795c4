"""Own images with own COCO files, by path; the classes named in the config."""

import json
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from figment.datasets.config import ZeroShotConfig
from figment.datasets.tagged import read_tagged
from figment.datasets.zero_shot import write_splits, zero_shot_space
from figment.errors import InputError

NAMES = ("cat", "dog", "frog", "car")
TRAIN = [("cat",), ("dog",), ("cat", "dog"), ("dog", "frog")]
TEST = [("cat",), ("frog",), ("frog", "car"), ("dog", "car")]


def write(folder: Path, name: str, images: list[tuple[str, ...]]) -> dict[str, str]:
    (folder / name).mkdir()
    for number in range(len(images)):
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(folder / name / f"{number}.png")
    annotations = [(number, NAMES.index(label)) for number, labels in enumerate(images) for label in labels]
    content = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 8, "height": 8} for number in range(len(images))
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(NAMES)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": label, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0}
            for i, (image, label) in enumerate(annotations)
        ],
    }
    (folder / f"{name} of mine.json").write_text(json.dumps(content))
    return {"json": str(folder / f"{name} of mine.json"), "images": str(folder / name)}


@pytest.fixture
def given(tmp_path) -> dict:
    parts = {name: write(tmp_path, name, images) for name, images in (("train", TRAIN), ("test", TEST))}
    return {"source": "coco", **parts, "seen": ["cat", "dog"], "unseen": ["frog", "car"], "validation": 0.25}


def test_files_of_any_name_give_the_four_splits(given, tmp_path):
    config = ZeroShotConfig.model_validate(given)
    space = zero_shot_space(config)
    assert (space.names, space.unseen_ids) == (NAMES, (2, 3))
    counts = write_splits(config, space, 8, tmp_path / "splits")
    assert counts == {"train": 3, "validation": 1, "zsl": 3, "gzsl": 4}
    found = read_tagged(tmp_path / "splits" / "gzsl")
    assert found.targets.tolist() == [[int(name in labels) for name in NAMES] for labels in TEST]
    assert (read_tagged(tmp_path / "splits" / "train").targets[:, 2:] == -1).all(), "of unseen classes nothing is known"
    for by_alias in (True, False):
        assert ZeroShotConfig.model_validate(config.model_dump(mode="json", by_alias=by_alias)) == config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"test": None}, "test is not given"),
        ({"train": None, "test": None}, "give either root"),
        ({"root": "data"}, "give either root"),
        ({"source": "parquet"}, "set it to coco"),
        ({"unseen": []}, "give both seen and unseen"),
        ({"labels": "labels.yaml"}, "give either labels"),
        ({"seen": [], "unseen": []}, "give either labels"),
        ({"train": {"json": "", "images": "x"}}, "the path is empty"),
    ],
)
def test_what_does_not_go_together_is_told(given, changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        ZeroShotConfig.model_validate(given | changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seen": ["cat"], "unseen": ["dog", "frog"]}, "1 seen classes"),
        ({"seen": ["cat", "cat"]}, "listed more than once"),
        ({"seen": ["cat", "excavator"]}, "no category for class 'excavator'"),
    ],
)
def test_classes_that_the_files_do_not_know_are_told(given, tmp_path, changes, sentence):
    config = ZeroShotConfig.model_validate(given | changes)
    with pytest.raises(InputError, match=sentence):
        write_splits(config, zero_shot_space(config), 8, tmp_path / "splits")
    assert not (tmp_path / "splits").exists()
