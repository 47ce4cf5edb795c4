from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.labels import Label, LabelSpace, check_name, key, nearest

SPACE = LabelSpace.model_validate(
    {"labels": [{"name": "car", "synonyms": ["automobile"]}, {"name": "aquarium_fish"}, {"name": "dog"}]}
)


def test_prompts_say_spaces_where_official_names_have_underscores():
    assert SPACE.labels[1].prompt_name == "aquarium fish"


def test_clip_is_asked_for_what_prompts_say_unless_it_knows_a_better_name():
    assert SPACE.labels[1].clip_name == "aquarium fish"
    coco = LabelSpace.load(Path("configs/labels/coco_48_17.yaml"))
    differ = {
        label.name: (label.prompt_name, label.clip_name) for label in coco.labels if label.prompt_name != label.name
    }
    assert differ == {
        "snowboard": ("snowboard equipment", "snowboard"), "keyboard": ("computer keyboard", "keyboard"),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"classes\[0\]\.clip_name: 'a/b' contains '/'"):
        LabelSpace(labels=(Label(name="a", clip_name="a/b"),)).checked()


@pytest.mark.parametrize("spelling", ["car", "CAR", "Automobile"])
def test_names_and_synonyms_match_in_any_case(spelling):
    assert SPACE.id_of(spelling) == 0


def test_underscores_hyphens_and_spaces_are_one():
    assert {SPACE.id_of(s) for s in ("aquarium fish", "Aquarium_Fish", "aquarium-fish")} == {1}


def test_choice_keeps_the_order_asked_for():
    assert SPACE.choose(["dog", "automobile"]).names == ("dog", "car")


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "no class is listed; a classifier needs at least two"),
        (["car"], "only 'car' is listed; a classifier needs at least two"),
        (["car", "dog", "Car"], "'car' is listed more than once"),
        (["car", "automobile"], "'car' is listed more than once"),
        (["car", "dgo"], r"classes\[1\]: 'dgo' is not a known class; the nearest known names are dog"),
        (["car", "../x"], r"classes\[1\]: '../x' contains '/'"),
        (["car", "do\ng"], r"classes\[1\]: 'do\\ng' contains '\\n'"),
        (["car", ""], "empty"),
        (["car", "{name}"], "contains '{'"),
        (["car", "x" * 65], "65 characters, at most 64"),
        (["car", ".hidden"], "starts with a dot"),
    ],
)
def test_bad_classes_get_one_clear_sentence(classes, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        SPACE.choose(classes)
    assert "\n" not in str(caught.value)


def test_a_missing_label_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: not readable YAML \(No such file"):
        LabelSpace.load(tmp_path / "none.yaml")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
def test_a_name_that_passes_is_harmless_in_paths_templates_and_pages(name):
    try:
        check_name(name, "classes[0]")
    except InputError:
        return
    assert not set(name) & set('/\\{}<>"\n\r\0')
    assert name.strip()


@given(st.text())
def test_the_key_of_a_key_is_itself(name):
    assert key(key(name)) == key(name)


def test_nearest_finds_misspellings():
    assert nearest("elefant", ["elephant", "dog", "cat"])[0] == "elephant"


def test_spaces_within_a_name_make_no_difference():
    space = LabelSpace.of(["AnnualCrop", "traffic light"])
    assert [space.id_of(name) for name in ("Annual Crop", "annual_crop", "annualcrop", "TrafficLight")] == [0, 0, 0, 1]


def test_an_exact_name_goes_before_one_that_differs_by_a_space():
    space = LabelSpace.of(["sealion", "sea lion"])
    assert (space.id_of("sealion"), space.id_of("Sea_Lion")) == (0, 1)


def test_what_was_not_chosen_is_still_known():
    space = LabelSpace.model_validate(
        {"labels": [{"name": "cat"}, {"name": "dog"}, {"name": "car", "synonyms": ["automobile"]}]}
    ).choose(["dog", "cat"])
    assert [space.id_of(name) for name in ("dog", "cat", "car")] == [0, 1, None]
    assert space.knows("Automobile")
    assert space.knows("cat")
    assert not space.knows("autombile")
    assert space.choose(["cat", "dog"]).knows("car")


def test_a_hint_is_checked_as_a_name_is():
    LabelSpace(labels=(Label(name="ray", hint="fish"),)).checked()
    with pytest.raises(InputError, match=r"classes\[0\]\.hint: 'a/b' contains '/'"):
        LabelSpace(labels=(Label(name="ray", hint="a/b"),)).checked()
