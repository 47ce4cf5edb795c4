"""Parquet as others write it: the Hub's metadata in any shape, splits under other names, columns of other types."""

import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from figment.datasets.labelled import open_labelled
from figment.errors import InputError
from figment.image_files import names_in, read_images
from figment.labels import LabelSpace

SPACE = LabelSpace.of(["cat", "dog"])
buffer = io.BytesIO()
Image.new("RGB", (4, 4)).save(buffer, "PNG")
PNG = {"bytes": buffer.getvalue(), "path": "1.png"}


def write(path, labels=(0, 1), images=(PNG, PNG), hub=None, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": list(images), "label": labels} | columns)
    if hub is not None:
        table = table.replace_schema_metadata({"huggingface": hub if isinstance(hub, bytes | str) else json.dumps(hub)})
    pq.write_table(table, path)
    return path


def names_as(value):
    return {"info": {"features": {"label": {"names": value, "_type": "ClassLabel"}}}}


def read(path, split="test"):
    return open_labelled(path, split, SPACE, 4).load().labels.tolist()


def sentence(path, split="test"):
    with pytest.raises(InputError) as caught:
        read(path, split)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("names", [["cat", "dog"], {"0": "cat", "1": "dog"}, {"1": "dog", "0": "cat"}], ids=str)
def test_names_are_a_list_or_a_mapping(names, tmp_path):
    assert read(write(tmp_path / "test.parquet", hub=names_as(names))) == [0, 1]


GARBAGE = {
    "features null": {"info": {"features": None}},
    "info null": {"info": None},
    "label null": {"info": {"features": {"label": None}}},
    "features a list": {"info": {"features": [{"name": "label"}]}},
    "names null": names_as(None),
    "names a number": names_as(5),
    "names a text": names_as("cat, dog"),
    "names of numbers": names_as([1, 2]),
    "a mapping with a gap": names_as({"0": "cat", "2": "dog"}),
    "a mapping of words": names_as({"cat": 0, "dog": 1}),
    "a list": [1, 2],
    "a number": 5,
    "null": "null",
    "no JSON": "{",
    "no UTF-8": b"\xff\xfe",
    "empty": "",
    "deep": "[" * 100_000,
    "5,000 digits": "9" * 5000,
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_metadata_that_say_nothing_ask_for_names(garbage, tmp_path):
    path = write(tmp_path / "test.parquet", hub=GARBAGE[garbage])
    assert "row 0: label 0 is outside no class names (put them, one a line, in classes.txt beside it)" in sentence(path)
    (tmp_path / "classes.txt").write_bytes("cat\r\ndog\r\n".encode("utf-16"))
    assert read(path) == [0, 1]
    assert read(write(tmp_path / "test.parquet", labels=["dog", "cat"], hub=GARBAGE[garbage])) == [1, 0]


LABELS = {
    "too large": ([0, 2], "row 1: label 2 is outside the 2 names known"),
    "negative": ([-1, 0], "row 0: label -1 is outside"),
    "null": ([0, None], "row 1: label None is outside"),
    "booleans": ([False, True], "row 0: label False is outside"),
    "floats": ([0.0, 1.0], "row 0: label 0.0 is outside"),
    "NaN": ([float("nan"), 1.0], "row 0: label nan is outside"),
    "lists": ([[0], [1]], "row 0: label [0] is outside"),
    "bytes": ([b"cat", b"dog"], "row 0: label b'cat' is outside"),
    "unknown names": (["cat", "elk"], "'elk'"),
    "no UTF-8": (pa.array([b"cat", b"\xff"]).view(pa.string()), "damaged Parquet"),
    "long lists": ([list(range(10_000)), [1]], "row 0: label [0, 1"),
}


@pytest.mark.parametrize("fault", LABELS)
def test_a_label_that_is_none_is_named_with_its_row(fault, tmp_path):
    labels, said = LABELS[fault]
    path = write(tmp_path / "test.parquet", labels=labels, hub=names_as(["cat", "dog"]))
    assert said in sentence(path)
    assert str(path) in sentence(path)


IMAGES = {
    "null": [PNG, None],
    "a path alone": [PNG, {"bytes": None, "path": "1.png"}],
    "paths": ["1.png", "2.png"],
    "numbers": [1, 2],
    "empty bytes": [PNG, {"bytes": b"", "path": ""}],
    "no image": [PNG, {"bytes": b"hello", "path": ""}],
}


@pytest.mark.parametrize("fault", IMAGES)
def test_a_cell_without_an_image_is_named(fault, tmp_path):
    path = write(tmp_path / "test.parquet", images=IMAGES[fault], hub=names_as(["cat", "dog"]))
    assert f"{path} row " in sentence(path)
    with pytest.raises(InputError, match=rf"{path}:\d"):
        list(read_images(path))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["validation-00000-of-00001.parquet"],
            "there are validation-00000-of-00001.parquet; .*'real.test: validation'",
        ),
        (["val.parquet", "train.parquet"], "there are train.parquet, val.parquet; .*'real.test: val'"),
        (
            ["data-00000-of-00001.parquet"],
            "there are data-00000-of-00001.parquet; expected one whose name begins with 'test'",
        ),
        (["0000.parquet"], "there are 0000.parquet; expected one"),
        (["Test.parquet"], "there are Test.parquet; expected one"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_parquet_of_other_splits_says_which_there_are(names, said, tmp_path):
    for name in names:
        write(tmp_path / "hub" / "data" / name, hub=names_as(["cat", "dog"]))
    with pytest.raises(InputError, match=said):
        read(tmp_path / "hub")
    for split in ("validation", "val", "train"):
        if any(name.startswith(f"{split}-") or name == f"{split}.parquet" for name in names):
            assert read(tmp_path / "hub", split) == [0, 1]


@pytest.mark.parametrize(
    "name",
    ["test.parquet", "test-00000-of-00001.parquet", "test-00000-of-00001-a1b2c3d4e5f60718.parquet", "test_0.parquet"],
)
def test_the_hubs_names_are_known(name, tmp_path):
    write(tmp_path / "data" / name, hub=names_as(["cat", "dog"]))
    assert read(tmp_path) == [0, 1]


FILES = {
    "empty": lambda p: p.touch(),
    "text": lambda p: p.write_text("x"),
    "pipe": os.mkfifo,
    "device": lambda p: p.symlink_to("/dev/zero"),
    "dangling link": lambda p: p.symlink_to("nowhere"),
    "sparse 10 TB": lambda p: (p.touch(), os.truncate(p, 10 << 40)),
    "cut short": lambda p: (write(p), os.truncate(p, p.stat().st_size // 2)),
    "no columns known": lambda p: pq.write_table(pa.table({"a": [1]}), p),
    "two columns of one name": lambda p: pq.write_table(
        pa.table([pa.array([1]), pa.array([1]), pa.array([b"x"])], names=["label", "label", "image"]), p
    ),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_file_that_is_no_such_parquet_is_named(fault, tmp_path):
    FILES[fault](tmp_path / "test.parquet")
    assert "test.parquet" in sentence(tmp_path)
    if fault != "two columns of one name":
        with pytest.raises(InputError, match=r"test\.parquet"):
            [*names_in(tmp_path / "test.parquet"), *read_images(tmp_path / "test.parquet")]


SOME = settings(max_examples=int(os.environ.get("FIGMENT_FUZZ", 40)), deadline=None)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["cat", "dog"])
WORDS = st.sampled_from(["info", "features", "label", "names", "0", "1"]) | st.text(max_size=3)
VALUES = st.recursive(LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(WORDS, part, max_size=3))


@SOME
@given(
    hub=VALUES.map(json.dumps) | VALUES.map(names_as).map(json.dumps) | st.binary(max_size=40), label=st.integers(-1, 3)
)
def test_any_metadata_are_names_or_a_sentence(hub, label, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("hub") / "test.parquet", labels=[label, 1], hub=hub)
    try:
        found = read(path)
    except InputError as error:
        found = str(error)
    assert found in ([0, 1], [1, 1]) or "\n" not in found


@SOME
@given(data=st.data())
def test_any_damage_to_a_file_is_told(data, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("damage") / "test.parquet", hub=names_as(["cat", "dog"]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read(path)
    except InputError as error:
        found = str(error)
    assert isinstance(found, list) or "\n" not in found
