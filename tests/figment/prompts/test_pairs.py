import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.prompts.pairs import label_pairs

SPACE = LabelSpace.model_validate(
    {
        "labels": [
            {"name": "animal"},
            {"name": "dog", "parents": ["animal"], "unseen": True},
            {"name": "puppy", "parents": ["dog"]},
            {"name": "cat", "parents": ["animal"], "unseen": True},
        ],
        "confusable": [["puppy", "dog"]],
    }
).checked()


def names(space: LabelSpace) -> list[tuple[str, ...]]:
    return [tuple(label.name for label in pair) for pair in label_pairs(space)]


def test_each_unordered_pair_and_each_class_alone_but_no_confusable_pair():
    assert names(SPACE) == [
        ("animal",), ("animal", "dog"), ("animal", "puppy"), ("animal", "cat"),
        ("dog",), ("dog", "cat"), ("puppy",), ("puppy", "cat"), ("cat",),
    ]  # fmt: skip


@given(st.sets(st.sampled_from([f"class {i}" for i in range(12)]), min_size=2))
def test_c_classes_have_c_times_c_plus_one_over_two_pairs(chosen):
    assert len(set(names(LabelSpace.of(sorted(chosen))))) == len(chosen) * (len(chosen) + 1) // 2


def test_seen_and_unseen_classes_share_out_the_space():
    assert (SPACE.seen_ids, SPACE.unseen_ids) == ((0, 2), (1, 3))


def test_ancestors_are_the_parents_and_theirs():
    assert [SPACE.ancestors(i) for i in range(4)] == [set(), {0}, {0, 1}, {0}]


def test_a_choice_keeps_what_is_known_among_the_chosen():
    chosen = SPACE.choose(["puppy", "dog"])
    assert chosen.labels[0].parents == ("dog",)
    assert chosen.labels[1].parents == ()
    assert chosen.confusable == (("puppy", "dog"),)
    assert SPACE.choose(["cat", "dog"]).confusable == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"confusable": [["dog", "cow"]]}, r"confusable\[0\]: 'cow' is not a known class; the nearest known names are dog"),
        ({"confusable": [["dog", "Dog"]]}, r"confusable\[0\]: 'dog' is paired with itself"),
        ({"labels": [{"name": "dog", "parents": ["anmal"]}, {"name": "animal"}]}, r"classes\[0\]\.parents: 'anmal' is not"),
        ({"labels": [{"name": "a", "parents": ["b"]}, {"name": "b", "parents": ["a"]}]}, "'a' is its own ancestor"),
    ],
)  # fmt: skip
def test_a_reference_to_no_class_is_one_clear_sentence(change, sentence):
    space = {"labels": [{"name": "dog"}, {"name": "cat"}], "confusable": []} | change
    with pytest.raises(InputError, match=sentence) as caught:
        LabelSpace.model_validate(space).checked()
    assert "\n" not in str(caught.value)


def test_up_to_three_classes_of_which_no_two_are_confusable():
    found = [tuple(label.name for label in chosen) for chosen in label_pairs(SPACE, 3)]
    assert found[:9] == names(SPACE)
    assert found[9:] == [("animal", "dog", "cat"), ("animal", "puppy", "cat")]
    assert {len(chosen) for chosen in label_pairs(SPACE, 1)} == {1}
