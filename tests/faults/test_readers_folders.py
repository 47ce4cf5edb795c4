"""Class folders and CIFAR batches as people have them: read right, or told in one sentence, and nothing lost in silence."""

import json
import logging
import os
import pickle
import shutil
import socket
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms, features

from figment.datasets.coco import read_coco
from figment.datasets.few_shot import photo_chunks
from figment.datasets.folders import chunks
from figment.datasets.labelled import has_split, open_labelled
from figment.datasets.listing import select
from figment.errors import InputError
from figment.evaluation.tagging import rendered_files
from figment.image_files import find_files, names_in, read_image
from figment.labels import LabelSpace
from figment.synthesis.sources import keep_photos

SPACE = LabelSpace.of(["cat", "dog"])


def image(path, color=(200, 40, 40), **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path, **settings)
    return path


@pytest.fixture
def data(tmp_path):
    for name in ("cat", "dog"):
        image(tmp_path / "data" / name / "1.png")
    return tmp_path / "data"


def count(folder, split="test", space=SPACE):
    return len(open_labelled(folder, split, space, 8).load())


def sentence(folder, split="test", space=SPACE):
    with pytest.raises(InputError) as caught:
        count(folder, split, space)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
    return str(caught.value)


FORMATS = {
    "jfif": "JPEG", "jpe": "JPEG", "JPG": "JPEG", "mpo": "MPO", "ppm": "PPM", "pgm": "PPM", "pnm": "PPM",
    "bmp": "BMP", "tif": "TIFF", "TIFF": "TIFF", "gif": "GIF", "webp": "WEBP", "apng": "PNG",
    **({"avif": "AVIF"} if features.check("avif") else {}),
}  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_image_of_any_common_format_is_read(suffix, data):
    image(data / "cat" / f"2.{suffix}", format=FORMATS[suffix])
    assert count(data) == 3
    assert read_image(data / "cat" / f"2.{suffix}").size == (8, 8)


STRAYS = {
    "dangling link": (lambda p: p.symlink_to("nowhere"), "2.jpg", "a link to a file that is not there"),
    "circle of links": (lambda p: p.symlink_to(p), "2.jpg", "symbolic links"),
    "pipe": (os.mkfifo, "2.jpg", "it is a named pipe"),
    "socket": (lambda p: socket.socket(socket.AF_UNIX).bind(os.path.relpath(p)), "2.jpg", "it is a socket"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "2.jpg", "it is a device"),
    "heic": (lambda p: p.write_bytes(b"x"), "2.heic", "1 .heic such as 2.heic"),
    "raw": (lambda p: p.write_bytes(b"x"), "2.CR2", "1 .cr2 such as 2.CR2"),
    "no suffix": (lambda p: p.write_bytes(b"x"), "n01440764_1", "1 without a suffix such as n01440764_1"),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_what_is_passed_over_is_counted_and_named(stray, data, caplog, monkeypatch):
    monkeypatch.chdir(data)
    make, name, said = STRAYS[stray]
    make(data / "cat" / name)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert count(data) == 2
    assert time.monotonic() - started < 10
    assert said in caplog.text
    assert name in caplog.text
    shutil.rmtree(data / "cat")
    (data / "cat").mkdir()
    make(data / "cat" / name)
    assert said in sentence(data)


DAMAGED = {
    "empty": (lambda p: p.touch(), "not a readable image"),
    "sparse 10 TB": (lambda p: (p.touch(), os.truncate(p, 10 << 40)), "10,995,116,277,760 bytes, at most"),
    "cut short": (lambda p: p.write_bytes(image(p).read_bytes()[:-200]), "not a readable image"),
    "text": (lambda p: p.write_text("hello"), "not a readable image"),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_image_is_named(fault, data):
    make, said = DAMAGED[fault]
    make(data / "cat" / "2.jpg")
    assert said in sentence(data)
    assert "cat/2.jpg" in sentence(data)


def test_linked_folders_are_entered_once(data, tmp_path):
    image(tmp_path / "elsewhere" / "a" / "2.png")
    (data / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (data / "cat" / "again").symlink_to(tmp_path / "elsewhere")
    (data / "cat" / "loop").symlink_to(data / "cat")
    (data / "dog" / "up").symlink_to(data / "dog")
    assert count(data) == 3


def test_a_class_folder_may_be_a_link(data, tmp_path):
    shutil.move(data / "cat", tmp_path / "felines")
    (data / "cat").symlink_to(tmp_path / "felines")
    assert count(data) == 2


def test_hidden_files_are_not_the_users(data, caplog):
    image(data / "cat" / "._1.png")
    image(data / "cat" / ".thumbs" / "1.png")
    assert count(data) == 2
    assert not caplog.text


SPLITS = {
    "train and val": (("train", "val"), "the folders there are train, val; expected a folder 'test'", "real.test: val"),
    "validation": (
        ("validation",),
        "the folders there are validation; expected a folder 'test'",
        "real.test: validation",
    ),
    "train": (("train",), "the folders there are train; expected a folder 'test'", ""),
}


@pytest.mark.parametrize("case", SPLITS)
def test_a_split_that_is_not_there_says_which_are(case, data, tmp_path):
    folders, said, hint = SPLITS[case]
    for name in folders:
        shutil.copytree(data, tmp_path / "split" / name)
    told = sentence(tmp_path / "split")
    assert said in told
    assert hint in told
    assert "synonym" not in told
    for name in folders:
        assert count(tmp_path / "split", name) == 2
    assert has_split(tmp_path / "split", "train") == ("train" in folders)


def test_an_empty_folder_says_what_is_needed(tmp_path):
    assert "no split 'test'; it holds no image" in sentence(tmp_path)


FILES = {
    "test.parquet without images": lambda d: pq.write_table(pa.table({"score": [1.0]}), d / "test.parquet"),
    "test-results.parquet": lambda d: pq.write_table(
        pa.table({"image": ["x"], "label": ["cat"]}), d / "test-results.parquet"
    ),
    "testing.parquet": lambda d: (d / "testing.parquet").write_text("x"),
    "test.parquet that is damaged": lambda d: (d / "test.parquet").write_text("x"),
    "a file called test": lambda d: (d / "test").write_text("x"),
    "a file called test in a class": lambda d: (d / "cat" / "test").write_text("x"),
    "a folder called test.parquet": lambda d: (d / "test.parquet").mkdir(),
    "test_batch without names": lambda d: (d / "test_batch").write_text("x"),
}


@pytest.mark.parametrize("stray", FILES)
def test_one_stray_file_does_not_decide_the_layout(stray, data):
    if stray == "a folder called test.parquet":
        image(data / "cat" / "2.png")
        (data / "cat" / "test.parquet").mkdir()
        assert count(data) == 3
        return
    FILES[stray](data)
    assert count(data) == 2


def test_names_that_are_no_utf8_are_read_and_printed(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    image(tmp_path / "data" / "cat" / name)
    image(tmp_path / "data" / "dog" / "1.png")
    assert count(tmp_path / "data") == 2
    [path] = find_files([tmp_path / "data" / "cat"])
    assert names_in(path) == [f"{tmp_path}/data/cat/caf\\xe9.png"]
    (tmp_path / "data" / "cat" / name).write_bytes(b"x")
    assert "caf\\xe9.png" in sentence(tmp_path / "data")


def test_a_class_folder_that_is_no_utf8_is_told(data):
    image(data / os.fsdecode(b"caf\xe9") / "1.png")
    assert "which is no known class" in sentence(data)


@pytest.mark.parametrize("path", ["x" * 5000, "x/" * 2500, "a\0b"], ids=["name", "path", "NUL"])
def test_a_path_that_no_system_takes_is_told(path, tmp_path):
    assert "no such file or folder" in sentence(tmp_path / path)
    with pytest.raises(InputError, match="no such file or folder"):
        find_files([tmp_path / path])


RENDERED = {
    "one folder": (["a/1.jpg", "a/2.jpg"], ["1.png", "2.png"]),
    "two classes": (["d/cat/1.jpg", "d/dog/1.jpg"], ["cat/1.png", "dog/1.png"]),
    "two splits": (["d/x/cat/1.jpg", "d/y/cat/1.jpg", "d/y/dog/2.jpg"], ["x/cat/1.png", "y/cat/1.png", "y/dog/2.png"]),
    "two suffixes": (["d/1.jpg", "d/1.png"], ["1.jpg.png", "1.png.png"]),
    "two cases": (["d/A.jpg", "d/b/a.jpg"], ["A.png", "b/a.png"]),
    "two tables": (["a/t.parquet:0", "b/t.parquet:0"], ["a/t-0.png", "b/t-0.png"]),
    "absolute": (["/d/cat/1.jpg", "/d/dog/1.jpg"], ["cat/1.png", "dog/1.png"]),
}


@pytest.mark.parametrize("case", RENDERED)
def test_images_of_one_name_are_rendered_apart(case, tmp_path):
    names, targets = RENDERED[case]
    assert rendered_files(names, tmp_path) == [tmp_path / target for target in targets]


def cifar(folder, labels=(0, 1), pixels=None, names=(b"cat", b"dog"), **more):
    folder.mkdir(exist_ok=True)
    data = np.zeros((2, 3072), np.uint8) if pixels is None else pixels
    (folder / "test_batch").write_bytes(pickle.dumps({b"data": data, b"labels": labels, **more}, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": list(names)}, protocol=2))


CIFAR = {
    "label 300": ({"labels": [0, 300]}, "row 1: label 300 is outside the 2 names known"),
    "label -1": ({"labels": [-1, 0]}, "row 0: label -1 is outside"),
    "label 1.5": ({"labels": [0, 1.5]}, "row 1: label 1.5 is outside"),
    "label True": ({"labels": [0, True]}, "row 1: label True is outside"),
    "label NaN": ({"labels": [0, float("nan")]}, "row 1: label nan is outside"),
    "label None": ({"labels": [0, None]}, "row 1: label None is outside"),
    "label of text": ({"labels": [0, b"cat"]}, "row 1: label b'cat' is outside"),
    "label of a thousand digits": ({"labels": [0, 10**1000]}, "row 1: label <an integer of"),
    "labels in an array, 300": ({"labels": np.array([0, 300])}, "row 1: label 300 is outside"),
    "labels in an array of floats": ({"labels": np.array([0.0, 1.0])}, "row 0: label 0.0 is outside"),
    "labels are a number": ({"labels": 5}, "not a CIFAR python batch"),
    "too few labels": ({"labels": [0]}, "1 labels, but another number"),
    "pixels of 300": ({"pixels": np.full((2, 3072), 300, np.int16)}, "or not from 0 to 255"),
    "pixels of -1": ({"pixels": np.full((2, 3072), -1, np.int16)}, "or not from 0 to 255"),
    "pixels of floats": ({"pixels": np.full((2, 3072), 0.5, np.float32)}, "pixels of type float32"),
    "pixels of NaN": ({"pixels": np.full((2, 3072), np.nan, np.float32)}, "pixels of type float32"),
    "pixels are None": ({"pixels": [None]}, "pixels of type object"),
    "pixels of another size": ({"pixels": np.zeros((2, 100), np.uint8)}, "not a CIFAR python batch"),
    "names that are no UTF-8": ({"names": [b"cat", b"\xff"]}, "not a CIFAR python batch"),
    "names are numbers": ({"names": [1, 2]}, "not a CIFAR python batch"),
}


@pytest.mark.parametrize("fault", CIFAR)
def test_a_cifar_batch_is_never_cast(fault, tmp_path):
    settings, said = CIFAR[fault]
    cifar(tmp_path / "cifar", **settings)
    told = sentence(tmp_path / "cifar")
    assert said in told
    assert "test_batch" in told


def test_a_good_cifar_batch_is_read(tmp_path):
    cifar(tmp_path / "cifar", labels=np.array([1, 0]), pixels=np.full((2, 3072), 255, np.int64))
    assert open_labelled(tmp_path / "cifar", "test", SPACE, 32).labels.tolist() == [1, 0]


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.new("RGB", (8, 4), (255, 0, 0))
    wide.save(path, exif=exif.tobytes())
    return (4, 8)


def cmyk(path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)
    return (8, 8)


def mpo(path):
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    return (8, 8)


def profiled(path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path, icc_profile=profile)
    return (8, 8)


@pytest.mark.parametrize("make", [turned, cmyk, mpo, profiled])
def test_what_cameras_and_printers_write_is_read(make, tmp_path):
    size = make(tmp_path / "1.jpg")
    found = read_image(tmp_path / "1.jpg")
    assert found.size == size
    red, green, blue = np.asarray(found, int).mean((0, 1))
    assert red > 200
    assert max(green, blue) < 60


def test_sixteen_bits_become_the_eight_that_count_most(tmp_path):
    Image.fromarray(np.full((8, 8), 0x7F80, np.uint16)).save(tmp_path / "1.png")
    assert np.asarray(read_image(tmp_path / "1.png")).tolist() == [[[127] * 3] * 8] * 8


COCO = {
    "backslash": ("sub\\c.jpg", None),
    "two folders and backslashes": ("a\\b\\c.jpg", None),
    "slash": ("sub/c.jpg", None),
    "up by backslash": ("..\\c.jpg", "leads out of the images' folder"),
    "a drive": ("C:\\c.jpg", "leads out of the images' folder"),
    "absolute": ("/c.jpg", "leads out of the images' folder"),
    "5,000 letters": ("x" * 5000, "5,000 characters, more than a file system takes"),
    "NUL": ("a\0.jpg", "is empty or not text"),
    "half a character": ("\ud800.jpg", "is empty or not text"),
    "newline": ("a\n.jpg", "is empty or not text"),
    "empty": ("", "is empty or not text"),
    "absent": ("none.jpg", "1 of 1 images are not there"),
}


@pytest.mark.parametrize("case", COCO)
def test_a_file_name_in_coco_is_found_or_told(case, tmp_path):
    name, said = COCO[case]
    if said is None:
        image(tmp_path / "images" / name.replace("\\", "/"))
    content = {
        "images": [{"id": 1, "file_name": name}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
    }
    (tmp_path / "x.json").write_text(json.dumps(content))
    if said is None:
        assert len(read_coco(tmp_path / "x.json", tmp_path / "images", SPACE)) == 1
        return
    with pytest.raises(InputError) as caught:
        read_coco(tmp_path / "x.json", tmp_path / "images", SPACE)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


def test_folders_without_splits_are_read_whole(data):
    assert sum(len(chunk.names) for chunk in chunks(data, None)) == 2


MASKS = {
    "no mask": (None, r"masks/dog/1\.png: "),
    "a text": (b"white", r"masks/dog/1\.png: not a readable image"),
    "another size": (
        "1",
        r"masks/dog/1\.png: a mask of 9 x 8 pixels for a photo of 8 x 8; save it at the photo's size",
    ),
    "all black": ((0, 0, 0), r"masks/dog/1\.png: all black; a mask is white on the object"),
    "all white": ((255, 255, 255), r"masks/dog/1\.png: all white; a mask is white on the object"),
}


@pytest.mark.parametrize(("mask", "found"), MASKS.values(), ids=MASKS)
def test_the_mask_of_a_photo(data, tmp_path, mask, found):
    file = tmp_path / "masks" / "dog" / "1.png"
    half = Image.new("L", (8, 8))
    half.paste(255, (0, 0, 8, 4))
    for name in ("cat", "dog"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        half.save(tmp_path / "masks" / name / "1.png")
    if mask is None:
        file.unlink()
    elif isinstance(mask, bytes):
        file.write_bytes(mask)
    elif isinstance(mask, tuple):
        image(file, mask)
    else:
        Image.new(mask, (9, 8)).save(file)
    listing = select(photo_chunks("folders", tmp_path, "data"), SPACE, None, "photos")
    with pytest.raises(InputError, match=found) as caught:
        keep_photos(listing, SPACE, tmp_path / "out", (tmp_path / "data", tmp_path / "masks"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "photos.parquet").exists()
