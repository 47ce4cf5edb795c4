"""Names of classes, as label files and data write them: one comparison, and what means two classes is told with both."""

import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from figment.datasets.coco import load_coco
from figment.datasets.labelled import open_labelled
from figment.errors import InputError
from figment.labels import LabelSpace, key

SPELLINGS = {  # of one class in a config and in the data
    "NFC and NFD": ("café", unicodedata.normalize("NFD", "café")),
    "NFD and NFC": (unicodedata.normalize("NFD", "Ångström"), "ångström"),
    "full width": ("cat", "ｃａｔ"),
    "ligature": ("fish", "ﬁsh"),
    "sharp s": ("Straße", "STRASSE"),
    "no-break space": ("traffic light", "traffic\u00a0light"),
    "ideographic space": ("traffic light", "traffic\u3000light"),
    "half-width kana": ("ガ", "ｶﾞ"),
    "underscores": ("traffic light", "Traffic_Light"),
    "no space": ("traffic light", "TrafficLight"),
    "final sigma": ("ΟΔΟΣ", "οδος"),
    "dotted I": ("İstanbul", "i̇stanbul"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_name_in_two_spellings_is_one_class(spelling, tmp_path):
    written, found = SPELLINGS[spelling]
    space = LabelSpace.of([written, "dog"])
    for name in (found, "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
    assert open_labelled(tmp_path, "test", space, 4).labels.sort().values.tolist() == [0, 1]
    assert space.choose([found, "dog"]).names == (written, "dog")


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if name != "no space"])
def test_two_spellings_are_no_two_classes(spelling):
    with pytest.raises(InputError, match="is listed more than once"):
        LabelSpace.of([*SPELLINGS[spelling], "dog"])


@given(st.text())
def test_however_unicode_writes_a_name_its_key_is_one(name):
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert key(unicodedata.normalize(form, name)) == key(name)
    assert key(key(name)) == key(name)


CAR, TRUCK = {"name": "car", "synonyms": ["auto"]}, {"name": "truck"}
CLASHES = {
    "a synonym of both": ([CAR, TRUCK | {"synonyms": ["auto"]}], "'auto' of 'truck' is a synonym of 'car', too"),
    "in another case": ([CAR, TRUCK | {"synonyms": ["AUTO"]}], "'AUTO' of 'truck' is a synonym of 'car', too"),
    "in another form": ([CAR, TRUCK | {"synonyms": ["ａｕｔｏ"]}], "of 'truck' is a synonym of 'car', too"),
    "the name of the next": (
        [{"name": "car", "synonyms": ["Truck"]}, TRUCK],
        "'Truck' of 'car' is the name of 'truck'",
    ),
    "the name of the first": ([CAR, TRUCK | {"synonyms": ["car"]}], "'car' of 'truck' is the name of 'car', too"),
    "an empty synonym": ([CAR, TRUCK | {"synonyms": [" "]}], "' ' is empty or not text"),
    "a control character": ([CAR, TRUCK | {"synonyms": ["a\x01"]}], r"contains '\x01'"),
}
ENTRIES = {
    "no name": ([CAR, {"synonyms": ["x"]}], "labels[1].name is missing"),
    "a number": ([CAR, {"name": 5}], "labels[1].name is a number 5, which in quotes would be text"),
    "no, unquoted": ([CAR, {"name": False}], "labels[1].name is true or false False, which in quotes would be text"),
    "a name alone": ([CAR, "truck"], "labels[1] is text 'truck'"),
    "synonyms as text": ([CAR, {"name": "x", "synonyms": "y"}], "labels[1].synonyms ('x') is text 'y'"),
    "a list in synonyms": ([CAR, {"name": "x", "synonyms": [["y"]]}], "labels[1].synonyms[0] ('x') is a list"),
    "an unknown field": ([CAR, {"name": "x", "synonym": ["y"]}], "labels[1].synonym ('x') is no field"),
    "unseen as text": ([CAR, {"name": "x", "unseen": "maybe"}], "labels[1].unseen ('x') is text 'maybe'"),
    "an id twice": ([CAR | {"id": 3}, TRUCK | {"id": 3}], "classes[1].id: 3 of 'truck' is that of 'car', too"),
    "an id as text": ([CAR, {"name": "x", "id": "three"}], "labels[1].id ('x') is text 'three'"),
    "an id below 0": ([CAR, {"name": "x", "id": -1}], "labels[1].id ('x') is a number -1"),
    "a mapping of labels": ({"car": CAR}, "labels is a mapping"),
    "a text of labels": ("car, dog", "labels is text 'car, dog'"),
    "a parent that is none": ([CAR, {"name": "x", "parents": ["y"]}], "'y' is not a known class"),
}


@pytest.mark.parametrize("fault", [*CLASHES, *ENTRIES])
def test_the_entry_that_is_wrong_is_named(fault, tmp_path):
    labels, sentence = {**CLASHES, **ENTRIES}[fault]
    path = tmp_path / "labels.yaml"
    path.write_text(yaml.safe_dump({"labels": labels}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        LabelSpace.load(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "validation error" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parent_may_be_written_without_its_space():
    space = LabelSpace.model_validate(
        {
            "labels": [{"name": "sea animal"}, {"name": "ray", "parents": ["SeaAnimal"]}],
            "confusable": [["SeaAnimal", "ray"]],
        }
    ).checked()
    assert space.ancestors(1) == {0}
    assert space.are_confusable(0, 1)
    assert space.choose(["ray", "sea animal"]).ancestors(0) == {1}


def test_two_categories_of_one_name_in_two_forms_are_refused(tmp_path):
    (tmp_path / "x.json").write_text(
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "caf\\u00e9"}, {"id": 2, "name": "cafe\\u0301"}]}'
    )
    with pytest.raises(InputError, match="there are two categories with name"):
        load_coco(tmp_path / "x.json")
