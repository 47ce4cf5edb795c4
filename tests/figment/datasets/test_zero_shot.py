import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from figment.datasets.tagged import TaggedImages, read_tagged
from figment.datasets.zero_shot import ZeroShotConfig, write_splits, zero_shot_space
from figment.errors import InputError
from pocket.data_sets import write_scenes

LABELS = "configs/labels/pocket_24_8.yaml"


@pytest.fixture(scope="module")
def parquet(tmp_path_factory) -> ZeroShotConfig:
    """80 scenes of seen objects to train on, 120 of all to test."""
    config = ZeroShotConfig(source="parquet", root=str(tmp_path_factory.mktemp("parquet")), labels=LABELS)
    write_scenes(Path(config.root), zero_shot_space(config), train=80, test=120, seed=0)
    return config


@pytest.fixture(scope="module")
def scenes(parquet, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("splits")
    assert write_splits(parquet, zero_shot_space(parquet), 32, folder) == {
        "train": 72, "validation": 8, "zsl": len(read_tagged(folder / "zsl")), "gzsl": 120,
    }  # fmt: skip
    return folder


def test_scenes_to_train_on_show_seen_objects_and_say_nothing_of_the_others(parquet, scenes):
    space = zero_shot_space(parquet)
    for name in ("train", "validation"):
        targets = read_tagged(scenes / name).targets
        assert (targets[:, list(space.unseen_ids)] == -1).all()
        assert (targets[:, list(space.seen_ids)].sum(1) >= 1).all()


def test_the_zsl_set_is_what_shows_an_unseen_object(parquet, scenes):
    space = zero_shot_space(parquet)
    zsl, gzsl = (read_tagged(scenes / name) for name in ("zsl", "gzsl"))
    shows = (gzsl.targets[:, list(space.unseen_ids)] > 0).any(1)
    assert 0 < len(zsl) < len(gzsl)
    assert torch.equal(zsl.pixels, gzsl.pixels[shows])
    assert torch.equal(zsl.targets, gzsl.targets[shows])


def test_every_image_is_in_one_split_with_its_labels_whatever_the_seed(parquet, scenes, tmp_path):
    space = zero_shot_space(parquet)
    write_splits(parquet, space, 32, tmp_path / "again")
    write_splits(parquet.model_copy(update={"seed": 1}), space, 32, tmp_path / "other")

    def found(folder: Path, *names: str) -> list[tuple[bytes, tuple[int, ...]]]:
        sets = [read_tagged(folder / name) for name in names]
        rows = [(s.pixels[i].numpy().tobytes(), tuple(s.targets[i].tolist())) for s in sets for i in range(len(s))]
        return sorted(rows)

    for name in ("train", "validation", "gzsl"):
        assert found(scenes, name) == found(tmp_path / "again", name)
    assert found(scenes, "validation") != found(tmp_path / "other", "validation")
    assert found(scenes, "train", "validation") == found(tmp_path / "other", "train", "validation")
    rows = pq.read_table(Path(parquet.root) / "test.parquet").to_pylist()
    shown = [
        [space.names[i] for i in row.nonzero().flatten().tolist()] for row in read_tagged(scenes / "gzsl").targets > 0
    ]
    assert shown == [row["labels"] for row in rows]


def test_parquet_that_is_amiss_is_one_sentence(parquet, tmp_path):
    space = zero_shot_space(parquet)
    data = parquet.model_copy(update={"root": str(tmp_path / "data")})
    shutil.copytree(parquet.root, data.root)
    test = Path(data.root) / "test.parquet"
    rows = pq.read_table(test).to_pylist()

    def refused(sentence: str, **changes) -> None:
        table = pa.Table.from_pylist([rows[0] | changes, *rows[1:]] if changes else [{"image": rows[0]["image"]}])
        pq.write_table(table, test)
        with pytest.raises(InputError, match=sentence):
            write_splits(data, space, 32, tmp_path / "out")

    refused(r"test\.parquet row 0: labels is None; expected a list of names", labels=None)
    refused(r"test\.parquet row 0: image holds no bytes", image={"bytes": None, "path": "x.png"})
    refused(r"test\.parquet row 0: not a readable image", image={"bytes": b"x", "path": "x.png"})
    refused(r"test\.parquet: columns are image; expected image \(or img\) and labels")
    misspelt = [row | {"labels": ["bananna" if name == "banana" else name for name in row["labels"]]} for row in rows]
    pq.write_table(pa.Table.from_pylist(misspelt), test)
    with pytest.raises(InputError, match=r"no image of test\*\.parquet is labelled 'banana'; the nearest .*: bananna"):
        write_splits(data, space, 32, tmp_path / "out")
    test.unlink()
    with pytest.raises(InputError, match=r"no test\*\.parquet; give a folder with"):
        write_splits(data, space, 32, tmp_path / "out")


def test_made_images_are_trained_on_and_never_validate(parquet, scenes, tmp_path):
    space = zero_shot_space(parquet)
    more = TaggedImages(torch.full((5, 3, 32, 32), 7, dtype=torch.uint8), torch.eye(32, dtype=torch.int8)[:5])
    counts = write_splits(parquet, space, 32, tmp_path, more)
    train = read_tagged(tmp_path / "train")
    assert counts["train"] == 72 + 5
    assert torch.equal(train.pixels[72:], more.pixels)
    assert torch.equal(train.targets[72:], more.targets)
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
    for file, (folder, known, images) in shown.items():
        data = {
            "images": [{"id": i, "file_name": f"{i}.png"} for i in range(len(images))],
            "categories": [{"id": categories[name], "name": name} for name in known],
            "annotations": [
                {"id": 10 * i + j, "image_id": i, "category_id": categories[name]}
                for i, names in enumerate(images)
                for j, name in enumerate(names)
            ],
        }
        for name, content in ((f"annotations/{file}", json.dumps(data)),):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        (tmp_path / folder).mkdir(exist_ok=True)
        for i in range(len(images)):
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
    """Two seen and two unseen tags in list files; codes in another order than the lists'; an image of one colour each."""
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
    for part, images in known.items():
        for source in ("human", "machine"):
            rows = [
                f"{i:016x},verification,{codes[name]},{confidence}"
                for i, facts in enumerate(images)
                for by, name, confidence in facts
                if by == source
            ]
            text = "\n".join(["ImageID,Source,LabelName,Confidence", *rows]) + "\n"
            (root / "annotations" / f"oidv6-{part}-annotations-{source}-imagelabels.csv").write_text(text)
        (root / part).mkdir()
        for i in range(min(4, len(images))):
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
    by_image = dict(zip(red, torch.cat([train.targets, held.targets]).tolist(), strict=True))
    assert by_image == {0: [1, -1, -1, -1], 1: [-1, 1, -1, -1], 2: [0, 1, -1, -1]}


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
    for image in (root / "test").iterdir():
        if image.stem != f"{2:016x}":
            image.unlink()
    with pytest.raises(InputError, match=r"test: no image of the 2 tagged images"):
        write_splits(open_images, space, 8, tmp_path / "out")
    for file in (root / "annotations").glob("*test*"):
        file.unlink()
    with pytest.raises(InputError, match=r"annotations: holds 0 test-annotations-\*-imagelabels\.csv and 1 class-desc"):
        write_splits(open_images, space, 8, tmp_path / "out")
    for i in range(3):
        (root / "train" / f"{i:016x}.jpg").unlink()
    with pytest.raises(InputError, match=r"train: no image there shows any of 2 classes \(dog, car, \.\.\.\)"):
        write_splits(open_images, space, 8, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_a_zero_shot_split_is_refused(parquet):
    with pytest.raises(InputError, match="0 unseen classes; a zero-shot split has two or more"):
        zero_shot_space(parquet.model_copy(update={"labels": "configs/labels/pocket.yaml"}))
