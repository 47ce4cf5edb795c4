import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from figment.datasets.coco import read_coco, read_coco_split
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.environment import ROOT

SPACE = LabelSpace.model_validate(
    {"labels": [{"name": "dog"}, {"name": "potted plant"}, {"name": "tv", "synonyms": ["television"]}]}
)
COCO_IDS = {  # of the 65 classes in the 48/17 split; the official ids have gaps, so a position is no id
    "seen": "1 2 3 4 7 8 9 15 16 19 20 23 24 25 27 31 33 34 35 38 42 44 48 50 51 52 53 54 55 56 57 59 60 62 65 70 72 73 74 75 "
    "78 79 80 82 84 85 86 90",
    "unseen": "5 6 17 18 21 22 28 32 36 41 47 49 61 63 76 81 87",
}  # fmt: skip


def encoded(red: int = 0, size: tuple[int, int] = (8, 6), image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(buffer, image_format)
    return buffer.getvalue()


def scene() -> dict:
    """Categories in no order, with ids in no order, and one that no one asked for."""
    return {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "sub/b.png"}, {"id": 9, "file_name": "c.png"}],
        "categories": [
            {"id": 90, "name": "television"}, {"id": 5, "name": "zebra"}, {"id": 18, "name": "dog"},
            {"id": 64, "name": "potted plant"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90}, {"id": 2, "image_id": 7, "category_id": 18},
            {"id": 3, "image_id": 7, "category_id": 18}, {"id": 4, "image_id": 3, "category_id": 64},
            {"id": 5, "image_id": 9, "category_id": 5},
        ],
    }  # fmt: skip


def write(folder: Path, data: object) -> tuple[Path, Path]:
    images = folder / "images"
    (images / "sub").mkdir(parents=True, exist_ok=True)
    for red, name in enumerate(("a.png", "sub/b.png", "c.png")):
        (images / name).write_bytes(encoded(red))
    annotations = folder / "scene.json"
    annotations.write_text(json.dumps(data), encoding="utf-8")
    return annotations, images


def test_categories_are_matched_by_name_never_by_order(tmp_path, capsys):
    found = read_coco(*write(tmp_path, scene()), SPACE)
    assert [file.name for file in found.files] == ["a.png", "b.png"]
    assert found.targets.tolist() == [[True, False, True], [False, True, False]]
    assert capsys.readouterr().out == ""


def test_images_are_squeezed_not_cropped(tmp_path):
    annotations, images = write(tmp_path, scene())
    wide = Image.new("RGB", (40, 10))
    wide.paste((255, 255, 255), (0, 0, 4, 10))
    wide.save(images / "a.png")
    pixels = read_coco(annotations, images, SPACE).pixels([0, 1], 20)
    assert pixels.shape == (2, 3, 20, 20)
    assert pixels.dtype == torch.uint8
    assert pixels[0, :, 10, 0].tolist() == [255, 255, 255]  # what stands at the edge is still there
    assert pixels[1, 0, 0, 0] == 1


def change(**tables) -> dict:
    return scene() | tables


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            change(categories=scene()["categories"][:3], annotations=[]),
            r"scene\.json: no category for class 'potted plant'; the nearest",
        ),
        (change(categories=[*scene()["categories"], {"id": 99, "name": "tv"}]), "two categories mean 'tv'"),
        (
            change(annotations=[{"id": 6, "image_id": 7, "category_id": 99}]),
            "annotation 6 has category_id 99, which is not among the categories",
        ),
        (
            change(annotations=[{"id": 6, "image_id": 1, "category_id": 18}]),
            "annotation 6 has image_id 1, which is not among the images",
        ),
        (change(images=[*scene()["images"], {"id": 7, "file_name": "d.png"}]), "there are two images with id 7"),
        (change(images=[*scene()["images"], {"id": 8, "file_name": "a.png"}]), "two images with file_name 'a.png'"),
        (change(annotations=scene()["annotations"][:1] * 2), "there are two annotations with id 1"),
        (change(categories=[*scene()["categories"], {"id": 18, "name": "cow"}]), "two categories with id 18"),
        (change(categories=[*scene()["categories"], {"id": 4, "name": "Dog"}]), "two categories with name 'dog'"),
        (change(images=[{"id": 7, "file_name": "../a.png"}]), r"images\[0\]: file name '\.\./a\.png' leads out of"),
        (change(images=[{"id": 7, "file_name": "sub/../../a.png"}]), "leads out of"),
        (change(images=[{"id": 7, "file_name": "/etc/passwd"}]), "leads out of"),
        (change(images=[{"id": 7, "file_name": "..\\a.png"}]), "leads out of"),
        (change(images=[{"id": 7, "file_name": ""}]), "file name '' is empty"),
        (change(images=[{"id": "7", "file_name": "a.png"}]), r"images\[0\] has no 'id' or one of the wrong kind.* whole number"),
        (change(annotations=[{"id": 1, "category_id": 18}]), r"annotations\[0\] has no 'image_id'"),
        (change(categories=[{"id": 1}]), r"categories\[0\] has no 'name' .* should be text"),
        (change(annotations=None), "has no list 'annotations'"),
        ([], "has no list 'images'"),
        (change(annotations=[]), r"scene\.json: empty, none of its 3 images shows any of 3 classes \(dog, potted plant, tv"),
        (change(images=[], annotations=[]), "empty, none of its 0 images"),
    ],
)  # fmt: skip
def test_bad_annotations_are_one_clear_sentence(tmp_path, data, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read_coco(*write(tmp_path, data), SPACE)
    assert "\n" not in str(caught.value)


def test_missing_images_are_counted_and_the_first_is_named(tmp_path):
    annotations, images = write(tmp_path, scene())
    (images / "a.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images are not there, the first is .*a\.png"):
        read_coco(annotations, images, SPACE)


@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "not readable JSON .No such file"), ("{", "not readable JSON")]
)
def test_a_file_that_is_no_json_is_named(tmp_path, content, sentence):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"x\.json: {sentence}"):
        read_coco(path, tmp_path, SPACE)


@pytest.fixture
def zero_shot(tmp_path):
    """The 48/17 files as released: official ids, categories of the split only, images beside or in images/."""
    space = LabelSpace.load(ROOT / "configs/labels/coco_48_17.yaml")
    official = {
        name: number
        for part, ids in (("seen", space.seen_ids), ("unseen", space.unseen_ids))
        for name, number in zip([space.names[i] for i in ids], map(int, COCO_IDS[part].split()), strict=True)
    }
    (tmp_path / "annotations").mkdir()
    for file, folder, ids in (
        ("instances_train2014_seen_48_17.json", "train2014", space.seen_ids),
        ("instances_val2014_unseen_48_17.json", "val2014", space.unseen_ids),
        ("instances_val2014_gzsi_48_17.json", "val2014", range(len(space))),
    ):
        names = [space.names[i] for i in ids]
        (tmp_path / folder).mkdir(exist_ok=True)
        data = {
            "images": [{"id": official[name], "file_name": f"{official[name]}.jpg"} for name in names],
            "categories": [{"id": official[name], "name": name} for name in sorted(names)],
            "annotations": [
                {"id": i, "image_id": official[name], "category_id": official[name]} for i, name in enumerate(names)
            ],
        }
        for image in data["images"]:
            (tmp_path / folder / image["file_name"]).write_bytes(encoded(image_format="JPEG"))
        (tmp_path / "annotations" / file).write_text(json.dumps(data))
    return tmp_path, space, official


@pytest.mark.parametrize(("split", "classes"), [("train", 48), ("zsl", 17), ("gzsl", 65)])
@pytest.mark.parametrize("inside_images", [False, True])
def test_the_48_17_split_reads_in_both_layouts(zero_shot, split, classes, inside_images):
    root, space, official = zero_shot
    if inside_images:
        (root / "images").mkdir()
        for folder in ("train2014", "val2014"):
            (root / folder).rename(root / "images" / folder)
    found = read_coco_split(root, split, space)
    assert found.targets.shape == (classes, classes)
    for file, row in zip(found.files, found.targets, strict=True):
        (column,) = row.nonzero()[:, 0].tolist()
        assert int(file.stem) == official[found.space.names[column]]
    unseen = [label.unseen for label in found.space.labels]
    assert {"train": not any(unseen), "zsl": all(unseen), "gzsl": sum(unseen) == 17}[split]


@pytest.mark.parametrize(("split", "classes"), [("train", 48), ("zsl", 17), ("gzsl", 65)])
@pytest.mark.parametrize("inside_images", [False, True])
def test_the_48_17_split_in_the_files_of_semantic_diversity_learning(zero_shot, split, classes, inside_images):
    """All three below zs_split/, images named from one root."""
    root, space, _ = zero_shot
    expected = read_coco_split(root, split, space)
    (root / "zs_split").mkdir()
    for old, new, folder in (
        ("instances_train2014_seen_48_17.json", "train_17_48.json", "train2014"),
        ("instances_val2014_unseen_48_17.json", "val_unseen.json", "val2014"),
        ("instances_val2014_gzsi_48_17.json", "val_17_48.json", "val2014"),
    ):
        data = json.loads((root / "annotations" / old).read_text())
        for image in data["images"]:
            image["file_name"] = f"{folder}/{image['file_name']}"
        (root / "zs_split" / new).write_text(json.dumps(data))
        (root / "annotations" / old).unlink()
        if inside_images and not (root / "images" / folder).exists():
            (root / "images").mkdir(exist_ok=True)
            (root / folder).rename(root / "images" / folder)
    found = read_coco_split(root, split, space)
    assert len(found) == classes
    assert [file.name for file in found.files] == [file.name for file in expected.files]
    assert (found.targets == expected.targets).all()
    found.files[-1].unlink()
    with pytest.raises(InputError, match=rf"1 of {classes} images are not there, the first is \w+2014/\d+\.jpg below"):
        read_coco_split(root, split, space)


def test_a_missing_split_file_is_named(zero_shot):
    root, space, _ = zero_shot
    (root / "annotations/instances_val2014_unseen_48_17.json").unlink()
    names = r"annotations/instances_val2014_unseen_48_17\.json or zs_split/val_unseen\.json"
    with pytest.raises(InputError, match=f"holds no {names}"):
        read_coco_split(root, "zsl", space)
