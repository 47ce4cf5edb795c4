import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from figment.datasets.tagged import TaggedPictures, read_tagged
from figment.datasets.zero_shot import SceneConfig, ZeroShotConfig, write_splits, zero_shot_space
from figment.errors import InputError

SCENES = ZeroShotConfig(
    source="pocket",
    root="data/artwork",
    labels="configs/labels/pocket_24_8.yaml",
    scenes=SceneConfig(train=40, test=60),
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("splits")
    assert write_splits(SCENES, zero_shot_space(SCENES), 32, folder) == {
        "train": 36, "validation": 4, "zsl": len(read_tagged(folder / "zsl")), "gzsl": 60,
    }  # fmt: skip
    return folder


def test_scenes_to_train_on_show_seen_objects_and_say_nothing_of_the_others(scenes):
    space = zero_shot_space(SCENES)
    for name in ("train", "validation"):
        targets = read_tagged(scenes / name).targets
        assert (targets[:, list(space.unseen_ids)] == -1).all()
        assert (targets[:, list(space.seen_ids)].sum(1) >= 1).all()


def test_the_zsl_set_is_what_shows_an_unseen_object(scenes):
    space = zero_shot_space(SCENES)
    zsl, gzsl = (read_tagged(scenes / name) for name in ("zsl", "gzsl"))
    shows = (gzsl.targets[:, list(space.unseen_ids)] > 0).any(1)
    assert 0 < len(zsl) < len(gzsl)
    assert torch.equal(zsl.pixels, gzsl.pixels[shows])
    assert torch.equal(zsl.targets, gzsl.targets[shows])


def test_the_same_seed_writes_the_same_splits_and_another_others(scenes, tmp_path):
    space = zero_shot_space(SCENES)
    write_splits(SCENES, space, 32, tmp_path / "again")
    write_splits(SCENES.model_copy(update={"seed": 1}), space, 32, tmp_path / "other")
    for name in ("train", "gzsl"):
        first, again, other = (
            read_tagged(folder / name) for folder in (scenes, tmp_path / "again", tmp_path / "other")
        )
        assert torch.equal(first.pixels, again.pixels)
        assert not torch.equal(first.pixels, other.pixels)


def test_made_pictures_are_trained_on_and_never_validate(scenes, tmp_path):
    space = zero_shot_space(SCENES)
    more = TaggedPictures(torch.full((5, 3, 32, 32), 7, dtype=torch.uint8), torch.eye(32, dtype=torch.int8)[:5])
    counts = write_splits(SCENES, space, 32, tmp_path, more)
    train = read_tagged(tmp_path / "train")
    assert counts["train"] == 36 + 5
    assert torch.equal(train.pixels[36:], more.pixels)
    assert torch.equal(train.targets[36:], more.targets)
    assert torch.equal(read_tagged(tmp_path / "validation").pixels, read_tagged(scenes / "validation").pixels)


@pytest.fixture
def coco(tmp_path) -> ZeroShotConfig:
    """Two seen and two unseen classes; categories in another order than the label space's."""
    labels = tmp_path / "labels.yaml"
    labels.write_text("labels: [{name: dog}, {name: cat, unseen: true}, {name: car}, {name: bus, unseen: true}]")
    categories = {"bus": 11, "car": 3, "cat": 8, "dog": 4}
    shown = {
        "instances_train2014_seen_48_17.json": (
            "train2014",
            ["dog", "car"],
            [["dog"], ["car"], ["dog", "car"], ["car"]],
        ),
        "instances_val2014_unseen_48_17.json": ("val2014", ["bus", "cat"], [["bus"], ["cat", "bus"]]),
        "instances_val2014_gzsi_48_17.json": ("val2014", list(categories), [["bus", "dog"], ["cat", "bus"], ["car"]]),
    }
    for file, (folder, known, pictures) in shown.items():
        data = {
            "images": [{"id": i, "file_name": f"{i}.png"} for i in range(len(pictures))],
            "categories": [{"id": categories[name], "name": name} for name in known],
            "annotations": [
                {"id": 10 * i + j, "image_id": i, "category_id": categories[name]}
                for i, names in enumerate(pictures)
                for j, name in enumerate(names)
            ],
        }
        for name, content in ((f"annotations/{file}", json.dumps(data)),):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        (tmp_path / folder).mkdir(exist_ok=True)
        for i in range(len(pictures)):
            Image.new("RGB", (20, 10), (10 * i, 0, 0)).save(tmp_path / folder / f"{i}.png")
    return ZeroShotConfig(source="coco", root=str(tmp_path), labels=str(labels), validation=0.25)


def test_a_published_set_becomes_the_same_four_sets(coco, tmp_path):
    space = zero_shot_space(coco)
    assert write_splits(coco, space, 8, tmp_path / "out") == {"train": 3, "validation": 1, "zsl": 2, "gzsl": 3}
    assert read_tagged(tmp_path / "out" / "zsl").targets.tolist() == [[-1, 0, -1, 1], [-1, 1, -1, 1]]
    gzsl = read_tagged(tmp_path / "out" / "gzsl")
    assert gzsl.targets.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]]
    assert gzsl.pixels[:, 0, 0, 0].tolist() == [0, 10, 20]
    train, held = (read_tagged(tmp_path / "out" / name) for name in ("train", "validation"))
    red = torch.cat([train.pixels, held.pixels])[:, 0, 0, 0].tolist()
    by_red = dict(zip(red, torch.cat([train.targets, held.targets]).tolist(), strict=True))
    assert by_red == {0: [1, -1, 0, -1], 10: [0, -1, 1, -1], 20: [1, -1, 1, -1], 30: [0, -1, 1, -1]}


@pytest.fixture
def open_images(tmp_path) -> ZeroShotConfig:
    """Two seen and two unseen tags in list files; codes in another order than the lists'; a picture of one colour each."""
    root, lists = tmp_path / "open_images", tmp_path / "tags"
    codes = {"bus": "/m/1", "Car": "/m/2", "cat": "/m/3", "Dog": "/m/4", "tree": "/m/5"}
    known = {
        "train": [
            [("human", "Dog", 1), ("human", "cat", 1)],
            [("human", "Car", 1), ("machine", "Dog", 0.2)],
            [("machine", "Car", 0.9), ("human", "Dog", 0)],
            [("human", "bus", 1)],  # shows no seen tag: there is nothing to learn from it
            [("human", "Car", 1)],  # not downloaded
        ],
        "test": [[("human", "cat", 1), ("human", "Car", 0)], [("human", "Dog", 1)], [("human", "tree", 1)]],
    }
    lists.mkdir()
    (lists / "seen.txt").write_text("dog\ncar\n")
    (lists / "unseen.txt").write_text("# held out\nbus\nCat\n")
    (root / "annotations").mkdir(parents=True)
    lines = "".join(f"{code},{name}\n" for name, code in codes.items())
    (root / "annotations" / "oidv6-class-descriptions.csv").write_text(lines)
    for part, pictures in known.items():
        for source in ("human", "machine"):
            rows = [
                f"{i:016x},verification,{codes[name]},{confidence}"
                for i, facts in enumerate(pictures)
                for by, name, confidence in facts
                if by == source
            ]
            text = "\n".join(["ImageID,Source,LabelName,Confidence", *rows]) + "\n"
            (root / "annotations" / f"oidv6-{part}-annotations-{source}-imagelabels.csv").write_text(text)
        (root / part).mkdir()
        for i in range(min(4, len(pictures))):
            Image.new("RGB", (20, 10), (60 * i, 0, 0)).save(root / part / f"{i:016x}.jpg", quality=100)
    return ZeroShotConfig(source="open_images", root=str(root), labels=str(lists), validation=0.34)


def test_open_images_becomes_the_same_four_sets(open_images, tmp_path):
    space = zero_shot_space(open_images)
    assert space.names == ("dog", "car", "bus", "Cat")
    assert space.unseen_ids == (2, 3)
    out = tmp_path / "out"
    assert write_splits(open_images, space, 8, out) == {"train": 2, "validation": 1, "zsl": 1, "gzsl": 2}
    assert read_tagged(out / "zsl").targets.tolist() == [[-1, -1, -1, 1]]
    assert read_tagged(out / "gzsl").targets.tolist() == [[-1, 0, -1, 1], [1, -1, -1, -1]]
    train, held = (read_tagged(out / name) for name in ("train", "validation"))
    red = [round(value / 60) for value in torch.cat([train.pixels, held.pixels])[:, 0, 0, 0].tolist()]
    by_picture = dict(zip(red, torch.cat([train.targets, held.targets]).tolist(), strict=True))
    assert by_picture == {0: [1, -1, -1, -1], 1: [-1, 1, -1, -1], 2: [0, 1, -1, -1]}


def test_open_images_lists_and_files_that_do_not_fit_are_named(open_images, tmp_path):
    lists, root = Path(open_images.labels), Path(open_images.root)
    space = zero_shot_space(open_images)
    (lists / "unseen.txt").write_text("bus\nzebra crossing\n")
    with pytest.raises(InputError, match=r"class-descriptions\.csv: no code is called 'zebra crossing'"):
        write_splits(open_images, zero_shot_space(open_images), 8, tmp_path / "out")
    (lists / "unseen.txt").write_text("bus\nDOG\n")
    with pytest.raises(InputError, match=r"seen\.txt then unseen\.txt: classes: 'dog' is listed more than once"):
        zero_shot_space(open_images)
    (lists / "unseen.txt").unlink()
    with pytest.raises(InputError, match=r"unseen\.txt: not a readable list of names"):
        zero_shot_space(open_images)
    for picture in (root / "test").iterdir():
        if picture.stem != f"{2:016x}":
            picture.unlink()
    with pytest.raises(InputError, match=r"test: no picture of the 2 tagged images"):
        write_splits(open_images, space, 8, tmp_path / "out")
    for file in (root / "annotations").glob("*test*"):
        file.unlink()
    with pytest.raises(InputError, match=r"annotations: holds 0 test-annotations-\*-imagelabels\.csv and 1 class-desc"):
        write_splits(open_images, space, 8, tmp_path / "out")
    for i in range(3):
        (root / "train" / f"{i:016x}.jpg").unlink()
    with pytest.raises(InputError, match=r"train: no picture there shows any of 2 classes \(dog, car, \.\.\.\)"):
        write_splits(open_images, space, 8, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_a_zero_shot_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="0 unseen classes; a zero-shot split has two or more"):
        zero_shot_space(SCENES.model_copy(update={"labels": "configs/labels/pocket.yaml"}))
    few = tmp_path / "few.yaml"
    few.write_text(
        "labels: [{name: dog}, {name: cat}, {name: car}, {name: bus, unseen: true}, {name: bird, unseen: true}]"
    )
    with pytest.raises(InputError, match=r"data\.scenes\.objects: 4 in a scene of 3 classes; draw fewer"):
        write_splits(SCENES, zero_shot_space(SCENES.model_copy(update={"labels": str(few)})), 32, tmp_path / "out")
    elsewhere = SCENES.model_copy(update={"root": str(tmp_path)})
    with pytest.raises(InputError, match=r"noto\.parquet is not there"):
        write_splits(elsewhere, zero_shot_space(SCENES), 32, tmp_path / "out")
    strange = SCENES.model_copy(update={"labels": "configs/labels/coco_48_17.yaml"})
    with pytest.raises(InputError, match=r"has no sprite for .*'person'"):
        write_splits(strange, zero_shot_space(strange), 32, tmp_path / "out")
