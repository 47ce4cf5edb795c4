"""Few-shot splits from every layout, and what photos are like in the wild: turned, CMYK, 16-bit, animated, broken."""

import io
import json
import sqlite3

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import check_held_out, draw_shots, open_photos, photo_files, read_splits
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.environment import ROOT

SPACE = LabelSpace.of(["cell_phone", "apple"])


def write_photo(path, colour=(200, 0, 0), size=(12, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)


def folders(root, counts: dict[str, int], split: str):
    for name, count in counts.items():
        for i in range(count):
            write_photo(root / split / name / f"{i}.png", (10 * i, 0, 0))


@pytest.fixture
def root(tmp_path):
    """Folders spelt otherwise than the classes."""
    folders(tmp_path, {"Cell Phone": 6, "apple": 4}, "train")
    folders(tmp_path, {"cellphone": 2, "apple": 1}, "test")
    return tmp_path


def config(root, **options) -> FewShotDataConfig:
    return FewShotDataConfig(**{"source": "folders", "root": str(root), "largest_shots": 3, **options})


@given(st.lists(st.integers(4, 20), min_size=2, max_size=6), st.integers(0, 99))
def test_shots_are_nested_disjoint_from_what_is_left_and_of_their_class(counts, seed):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    names = [f"class {i}" for i in range(len(counts))]
    two, _ = draw_shots(labels, names, 2, 4, seed)
    four, left = draw_shots(labels, names, 4, 4, seed)
    assert set(two.tolist()) < set(four.tolist())
    assert sorted([*four.tolist(), *left.tolist()]) == list(range(len(labels)))
    assert torch.bincount(labels[four]).tolist() == [4] * len(counts)


def test_the_order_in_which_classes_are_listed_changes_no_shot(root):
    there = read_splits(config(root), SPACE, 2, seed=3).shots
    back = read_splits(config(root), LabelSpace.of(["apple", "cell_phone"]), 2, seed=3).shots
    assert there.places.equal(back.places)
    assert there.labels.equal(1 - back.labels)


def test_at_most_so_many_photos_are_held_out(root):
    splits = read_splits(config(root, held_out=1), SPACE, 2, seed=0)
    assert torch.bincount(splits.held_out.labels).tolist() == [1, 1]


def test_a_class_with_fewer_photos_than_shots_is_named(root):
    with pytest.raises(InputError, match=r"class 'apple': 4 photos for 5 shots; add photos of it, or ask for fewer"):
        read_splits(config(root, largest_shots=8), SPACE, 5, seed=0)


def test_photos_that_nothing_here_reads_are_counted(root):
    for name in ("a.HEIC", "b.heic", "notes.txt", "._c.heic"):
        (root / "train" / "apple" / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"'apple': 4 photos for 5 shots; .* \(passed over: 2 \.heic such as \S+\)$"):
        read_splits(config(root, largest_shots=8), SPACE, 5, seed=0)


def test_hidden_files_change_no_draw(root):
    before = [data for _, data in photo_files(read_splits(config(root), SPACE, 2, seed=0).shots)]
    for hidden in ("._0.png", ".thumbs/0.png", ".thumbs/1.png"):
        write_photo(root / "train" / "apple" / hidden, (1, 2, 3))
    assert [data for _, data in photo_files(read_splits(config(root), SPACE, 2, seed=0).shots)] == before


def test_more_shots_than_may_be_drawn_are_refused(root):
    with pytest.raises(InputError, match=r"shots: 4 is more than data\.largest_shots 3"):
        read_splits(config(root), SPACE, 4, seed=0)


def test_photos_that_all_are_shots_leave_none_to_validate_on(root):
    splits = read_splits(config(root, largest_shots=6), SPACE, 2, seed=0)
    with pytest.raises(
        InputError, match=r"has no photo beyond the first 6 of a class .*; add photos, or validate on no"
    ):
        check_held_out(splits, config(root, largest_shots=6))
    check_held_out(read_splits(config(root), SPACE, 2, seed=0), config(root))


@pytest.mark.parametrize("spelt", ["train", "./train/"])
def test_the_training_photos_test_nothing(root, spelt):
    with pytest.raises(
        ValidationError, match=r"tests\.same is '.*train/?', the training photos; give a folder of other"
    ):
        config(root, tests={"test": "test", "same": spelt})


def test_a_missing_folder_is_named(root, tmp_path):
    with pytest.raises(InputError, match=r"uncommon: no such folder; give data\.train and data\.tests"):
        read_splits(config(root, tests={"uncommon": "uncommon"}), SPACE, 2, seed=0)
    with pytest.raises(InputError, match=r"data.root .*nowhere: no such folder"):
        read_splits(config(tmp_path / "nowhere"), SPACE, 2, seed=0)


def test_a_test_set_may_lack_a_class_but_the_training_photos_may_not(root):
    for path in (root / "test" / "apple").iterdir():
        path.unlink()
    (root / "test" / "apple").rmdir()
    assert read_splits(config(root), SPACE, 2, seed=0).tests["test"].labels.tolist() == [0, 0]
    with pytest.raises(InputError, match=r"\(test\): no image of apple"):
        read_splits(config(root, train="test", tests={"test": "train"}), SPACE, 2, seed=0)


def test_focus_folders_are_read_by_class_and_corrected_by_the_annotations(tmp_path, monkeypatch):
    monkeypatch.setattr("figment.datasets.few_shot.FOCUS_TRAINING", 3)
    for folder, count in {"car-snow": 3, "car-fog": 2, "plane-water": 4}.items():
        for i in range(count):
            write_photo(tmp_path / folder / f"{i}.jpeg")
        (tmp_path / folder / "._0.jpeg").write_bytes(b"what macOS leaves")
    with sqlite3.connect(tmp_path / "annotations.db") as connection:
        connection.execute("CREATE TABLE annotations (file_name TEXT, category TEXT, humans TEXT)")
        rows = [("/plane-water/0.jpeg", "car", "no"), ("/plane-water/1.jpeg", "car", "yes")]
        connection.executemany("INSERT INTO annotations VALUES (?, ?, ?)", rows)
    focus = FewShotDataConfig(source="focus", root=str(tmp_path), largest_shots=2)
    space = LabelSpace.model_validate({"labels": [{"name": "car"}, {"name": "plane", "synonyms": ["airplane"]}]})
    splits = read_splits(focus, space, 2, seed=0)
    everything = splits.shots, splits.held_out, splits.tests["test"]
    assert torch.bincount(torch.cat([part.labels for part in everything])).tolist() == [6, 3]
    monkeypatch.setattr("figment.datasets.few_shot.FOCUS_TRAINING", 6)
    with pytest.raises(InputError, match=r"no class has more than 6 photos, so none is left to test on"):
        read_splits(focus, space, 2, seed=0)
    (tmp_path / "annotations.db").write_bytes(b"no database")
    with pytest.raises(InputError, match=r"annotations\.db: not FOCUS's annotations"):
        read_splits(focus, space, 2, seed=0)


def test_focus_keeps_one_test_set_for_all_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr("figment.datasets.few_shot.FOCUS_TRAINING", 3)
    for folder in ("car-snow", "dog-fog"):
        for i in range(7):
            write_photo(tmp_path / folder / f"{i}.jpeg")
    focus = FewShotDataConfig(source="focus", root=str(tmp_path), largest_shots=2)
    first, second = (read_splits(focus, LabelSpace.of(["car", "dog"]), 2, seed) for seed in (0, 1))
    assert first.tests["test"].places.equal(second.tests["test"].places)
    assert len(first.tests["test"]) == 8
    assert not first.shots.places.equal(second.shots.places)


def test_coco_images_are_found_by_split(tmp_path):
    for split, count in (("train2017", 3), ("val2017", 1)):
        images, annotations = [], []
        for i in range(2 * count):
            write_photo(tmp_path / split / f"{i}.jpg")
            images.append({"id": i, "file_name": f"{i}.jpg"})
            annotations.append({"id": i, "image_id": i, "category_id": 1 + i % 2, "area": 1})
        categories = [{"id": 1, "name": "cell phone"}, {"id": 2, "name": "apple"}]
        file = tmp_path / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    coco = FewShotDataConfig(source="coco", root=str(tmp_path), train="train2017", tests={"val": "val2017"})
    splits = read_splits(coco, SPACE, 3, seed=0)
    assert splits.shots.labels.tolist() == [1, 1, 1, 0, 0, 0]  # apple comes before cell phone
    assert splits.tests["val"].labels.tolist() == [0, 1]
    (tmp_path / "val2017" / "1.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images are not there, the first is .*1\.jpg"):
        read_splits(coco, SPACE, 3, seed=0)
    broken = json.loads(file.read_text())
    del broken["annotations"][0]["area"]
    file.write_text(json.dumps(broken))
    with pytest.raises(InputError, match="annotation 0 has no 'area' that is a number"):
        read_splits(coco, SPACE, 3, seed=0)


def test_parquet_has_a_folder_for_the_shots_and_one_a_test_set():
    space = LabelSpace.load(ROOT / "configs/labels/pocket.yaml").choose(["dog", "car"])
    pocket = FewShotDataConfig(source="parquet", root="data", train="real", tests={"same": "real", "other": "drawings"})
    splits = read_splits(pocket, space, 2, seed=0)
    assert {name: torch.bincount(test.labels).tolist() for name, test in splits.tests.items()} == {
        "same": [80, 80],
        "other": [40, 40],
    }
    again = read_splits(pocket, space, 2, seed=1)
    drawn = [open_photos(s.tests["other"], 32).load().pixels for s in (splits, again)]
    assert drawn[0].equal(drawn[1])
    for update, sentence in (
        ({"train": "drawings"}, r"drawings: no train\*\.parquet"),
        ({"tests": {"x": "no"}}, r"no: no test"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_splits(pocket.model_copy(update=update), space, 2, seed=0)


def turned() -> bytes:
    """Red on the left and blue on the right, if the note on how the camera was held is heeded."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15, 0], pixels[:, 15:, 2] = 255, 255
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RED = Image.new("RGB", (16, 16), (255, 0, 0))
PHOTOS = {
    "cmyk.jpg": saved(RED.convert("CMYK"), "JPEG", quality=95),
    "sixteen.png": saved(Image.fromarray(np.full((16, 16), 40000, np.uint16)), "PNG"),
    "clear.png": saved(RED.convert("RGBA"), "PNG"),
    "animated.gif": saved(RED, "GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), (0, 0, 255))]),
    "several.jpg": saved(RED, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16), (0, 0, 255))]),
}


def test_photos_of_any_kind_are_decoded_upright(tmp_path):
    kinds = {"turned.jpg": turned(), **PHOTOS}
    for folder in (tmp_path / split / name for split in ("train", "test") for name in ("apple", "cell_phone")):
        folder.mkdir(parents=True)
        for file, data in kinds.items():
            (folder / file).write_bytes(data)
    both = FewShotDataConfig(source="folders", root=str(tmp_path))
    splits = read_splits(both, SPACE, len(kinds), seed=0)
    images = open_photos(splits.tests["test"], 8).load().pixels[: len(kinds)]
    for file, pixels in zip(sorted(kinds), images, strict=True):
        red, green, blue = pixels.float().mean((1, 2)).tolist()
        if file == "turned.jpg":
            assert pixels[0, :, :3].min() > 200
            assert pixels[2, :, 5:].min() > 200
        elif file == "sixteen.png":
            assert red == green == blue == 156  # the first 8 of 16 bits
        else:
            assert red > 240
            assert max(green, blue) < 15
    assert {name.rpartition("/")[2]: data for name, data in photo_files(splits.shots)} == kinds


def test_a_corrupt_photo_is_named(root):
    broken = root / "test" / "apple" / "0.png"
    broken.write_bytes(broken.read_bytes()[:40])
    splits = read_splits(config(root), SPACE, 2, seed=0)
    with pytest.raises(InputError, match=r"apple/0\.png: not a readable image"):
        open_photos(splits.tests["test"], 8).load()
