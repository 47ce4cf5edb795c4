import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from figment.planning.plan import make_plan
from figment.planning.row import ADDED_LATER, SCHEMA, Row, record_of, row_of, seed_of

ROWS = st.builds(
    Row,
    prompt=st.text(min_size=1, max_size=12),
    labels=st.tuples(st.sampled_from(["dog", "cat"])),
    recipe=st.just("r"),
    trick=st.sampled_from(["a", "b"]),
    model=st.just("m"),
    revision=st.just("1"),
    width=st.sampled_from([32, 64]),
    height=st.just(32),
    guidance_scale=st.floats(0, 9, allow_nan=False),
    num_inference_steps=st.integers(2, 50),
    scheduler=st.just("DDIMScheduler"),
    stream=st.integers(0, 3),
    replicate=st.integers(0, 5),
    initial_image=st.sampled_from(["a", "b"]),
    mask=st.sampled_from(["", "c"]),
    strength=st.sampled_from([0.5, 1.0]),
    concept=st.sampled_from(["c", "d"]),
    noise=st.sampled_from([0.1, 0.2]),
    shared_noise=st.sampled_from(["", "x"]),
    noise_draw=st.sampled_from(["", "x"]),
    long_prompts=st.booleans(),
    round=st.integers(0, 2),
    parent=st.sampled_from(["", "x"]),
)


@given(ROWS, ROWS)
def test_two_rows_share_an_id_only_if_they_are_equal(a, b):
    assert (a.image_id == b.image_id) == (a == b)


@given(ROWS)
def test_seeds_fit_the_table_and_derive_from_the_id(row):
    assert 0 <= seed_of(row.image_id) < 2**63
    own = row.model_copy(update={"shared_noise": ""})
    assert make_plan([own])["seed"].to_pylist() == [seed_of(own.image_id)]


@given(ROWS)
def test_a_row_comes_back_from_its_record(row):
    assert row_of(make_plan([row]).to_pylist()[0]) == row


def test_rows_that_share_noise_share_the_seed_and_nothing_else():
    a, b = (record_of(example(prompt=prompt, shared_noise="x")) for prompt in ("a photo", "a sketch"))
    assert a["seed"] == b["seed"]
    assert a["image_id"] != b["image_id"]


def test_a_column_added_later_leaves_older_ids_alone():
    assert set(SCHEMA.names) - {"image_id", "seed"} == set(Row.model_fields)
    changes = {"initial_image": "0" * 64, "concept": "c", "shared_noise": "x", "round": 1, "parent": "x"}
    ids = {example(**{name: value}).image_id for name, value in changes.items()} | {example().image_id}
    ids |= {example(initial_image="0" * 64, mask="1" * 64).image_id}
    assert len(ids) == 2 + len(changes)
    assert {*changes, "mask"} < set(ADDED_LATER)


def example(**change) -> Row:
    values = {
        "prompt": "a dog", "labels": ("dog",), "recipe": "r", "trick": "t", "model": "m", "revision": "1", "width": 32,
        "height": 32, "guidance_scale": 4.0, "num_inference_steps": 12, "scheduler": "DDIMScheduler", "stream": 0,
        "replicate": 0,
    }  # fmt: skip
    return Row(**(values | change))


def test_the_id_of_a_row_never_changes_between_versions():
    """Golden: a new value here would orphan every image that anyone has rendered."""
    assert example().image_id == "3528f7380eab2eccd8bec01a5020124c32b37022195fa6a83d84ce43a953f5c8"


def test_editing_one_class_changes_only_its_rows():
    before = make_plan([example(labels=(c,), prompt=f"a {c}") for c in ("dog", "cat")])
    after = make_plan([example(labels=("dog",), prompt="a dog"), example(labels=("cat",), prompt="one cat")])
    kept = set(after["image_id"].to_pylist())
    assert [row["labels"] for row in before.to_pylist() if row["image_id"] in kept] == [["dog"]]


@pytest.mark.parametrize(
    "change",
    [
        {"width": 33},
        {"prompt": ""},
        {"guidance_scale": -1.0},
        {"guidance_scale": float("inf")},
        {"labels": ()},
        {"strength": 0.5},
        {"mask": "a" * 64},
        {"noise": 0.1},
        {"concept": "c", "noise_draw": "x"},
    ],
)
def test_an_impossible_row_is_refused(change):
    with pytest.raises(ValidationError):
        example(**change)
