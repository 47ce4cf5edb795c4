"""COCO's json as others write it, or as no one should."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.datasets.coco import read_coco
from figment.datasets.coco_largest import chunks
from figment.errors import InputError
from figment.labels import LabelSpace
from tests.faults.test_readers_folders import image

SPACE = LabelSpace.of(["cat", "dog"])


def content(**changes):
    base = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "area": 4, "bbox": [0, 0, 2, 2]},
            {"id": 2, "image_id": 2, "category_id": 2, "area": 4.0, "bbox": [0, 0, 2, 2]},
        ],
    }
    return base | changes


def changed(table, row, **fields):
    found = content()
    found[table][row] |= fields
    return found


FAULTS = {
    "a list": ([], "has no list 'images'"),
    "null": (None, "has no list 'images'"),
    "images a mapping": (content(images={}), "has no list 'images'"),
    "an image that is a number": (content(images=[5]), "images[0] has no 'id'"),
    "id as text": (changed("images", 1, id="2"), "images[1] has no 'id' or one of the wrong kind"),
    "id as float": (changed("images", 1, id=2.0), "images[1] has no 'id' or one of the wrong kind"),
    "name null": (changed("categories", 0, name=None), "categories[0] has no 'name'"),
    "the same id twice": (changed("images", 1, id=1), "two images with id 1"),
    "the same name in another case": (changed("categories", 1, name="CAT"), "two categories with name 'cat'"),
    "an image that is not there": (changed("annotations", 1, image_id=9), "annotation 2 has image_id 9"),
    "a category that is not there": (changed("annotations", 1, category_id=9), "annotation 2 has category_id 9"),
    "no category of a class": (changed("categories", 1, name="elk"), "no category for class 'dog'"),
    "area NaN": (changed("annotations", 1, area=float("nan")), "annotations[1].area is nan"),
    "area infinite": (changed("annotations", 1, area=float("inf")), "annotations[1].area is inf"),
    "box NaN": (changed("annotations", 0, bbox=[0, float("nan"), 1, 1]), "annotations[0].bbox is [0, nan, 1, 1]"),
    "box infinite": (
        changed("annotations", 0, bbox=[0, 0, float("-inf"), 1]),
        "annotations[0].bbox is [0, 0, -inf, 1]",
    ),
}
OF_AREAS = {
    "area missing": ({"area": None}, "has no 'area' that is a number"),
    "area as text": ({"area": "4"}, "has no 'area' that is a number"),
    "area negative": ({"area": -4}, "has no 'area' that is a number"),
    "area true": ({"area": True}, "has no 'area' that is a number"),
    "area a list": ({"area": [4]}, "has no 'area' that is a number"),
}
TEXTS = {
    "empty": ("", "not readable JSON"),
    "cut short": (json.dumps(content())[:-5], "not readable JSON"),
    "deep": ("[" * 100_000, "nested too deep"),
    "deep and closed": ("[" * 100_000 + "]" * 100_000, "nested too deep"),
    "an id of 5,000 digits": (json.dumps(content()).replace('"id": 2', '"id": ' + "9" * 5000, 1), "not readable JSON"),
    "single quotes": (str(content()), "not readable JSON"),
}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        image(tmp_path / "images" / name)
    return tmp_path


def sentence(read, folder, text):
    (folder / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read(folder)
    assert f"{folder}/x.json: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def by_class(folder):
    return read_coco(folder / "x.json", folder / "images", SPACE)


def by_size(folder):
    return chunks(folder / "x.json", folder / "images")


@pytest.mark.parametrize("fault", [*FAULTS, *TEXTS])
def test_the_row_that_is_wrong_is_named(fault, folder):
    value, said = {**FAULTS, **TEXTS}[fault]
    assert said in sentence(by_class, folder, value if fault in TEXTS else json.dumps(value))
    if fault != "no category of a class":
        assert said in sentence(by_size, folder, value if fault in TEXTS else json.dumps(value))


@pytest.mark.parametrize("fault", OF_AREAS)
def test_an_area_that_is_none_cannot_be_the_largest(fault, folder):
    fields, said = OF_AREAS[fault]
    assert said in sentence(by_size, folder, json.dumps(changed("annotations", 1, **fields)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_good_file_is_read(encoding, folder):
    (folder / "x.json").write_bytes(json.dumps(content()).encode(encoding))
    assert by_class(folder).targets.tolist() == [[True, False], [False, True]]
    assert by_size(folder)[0].names == ["cat", "dog"]


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(0, 3)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["cat", "a.jpg"])
)
VALUES = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=2) | st.dictionaries(st.text(max_size=2), part, max_size=2)
)
FIELDS = ("id", "file_name", "name", "image_id", "category_id", "area", "bbox")


@settings(max_examples=int(os.environ.get("FIGMENT_FUZZ", 60)), deadline=None)
@given(data=st.data())
def test_any_change_of_a_file_is_read_or_told(data, tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("coco"), content()
    for _ in range(data.draw(st.integers(1, 3))):
        table = data.draw(st.sampled_from(list(found)))
        if data.draw(st.booleans()) and isinstance(found[table], list) and isinstance(found[table][0], dict):
            found[table][0][data.draw(st.sampled_from(FIELDS))] = data.draw(VALUES)
        else:
            found[table] = data.draw(VALUES)
        if not isinstance(found[table], list) or not found[table]:
            break
    (folder / "x.json").write_text(json.dumps(found), encoding="utf-8")
    for read in (by_class, by_size):
        said = ""
        try:
            read(folder)
        except InputError as error:
            said = str(error)
        assert "\n" not in said
        said.encode()
