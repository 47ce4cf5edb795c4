import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from figment.errors import InputError
from figment.planning.plan import Row, make_plan, read_plan, seed_of, write_plan

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
    num_inference_steps=st.integers(1, 50),
    scheduler=st.just("DDIMScheduler"),
    stream=st.integers(0, 3),
    replicate=st.integers(0, 5),
)


@given(ROWS, ROWS)
def test_two_rows_share_an_id_only_if_they_are_equal(a, b):
    assert (a.image_id == b.image_id) == (a == b)


@given(st.lists(ROWS, max_size=6))
def test_the_order_of_rows_never_matters(rows):
    assert make_plan(rows).equals(make_plan(reversed(rows)))


@given(ROWS)
def test_seeds_fit_the_table_and_derive_from_the_id(row):
    assert 0 <= seed_of(row.image_id) < 2**63
    assert make_plan([row])["seed"].to_pylist() == [seed_of(row.image_id)]


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


def test_the_same_plan_is_the_same_bytes(tmp_path):
    plan = make_plan([example(replicate=i) for i in range(50)])
    for name in ("a", "b"):
        write_plan(plan, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_plan(tmp_path / "a").equals(plan)


def test_editing_one_class_changes_only_its_rows():
    before = make_plan([example(labels=(c,), prompt=f"a {c}") for c in ("dog", "cat")])
    after = make_plan([example(labels=("dog",), prompt="a dog"), example(labels=("cat",), prompt="one cat")])
    kept = set(after["image_id"].to_pylist())
    assert [row["labels"] for row in before.to_pylist() if row["image_id"] in kept] == [["dog"]]


@pytest.mark.parametrize("change", [{"width": 33}, {"prompt": ""}, {"guidance_scale": -1.0}, {"labels": ()}])
def test_an_impossible_row_is_refused(change):
    with pytest.raises(ValidationError):
        example(**change)


def test_a_file_that_is_no_plan_is_named(tmp_path):
    (tmp_path / "plan.parquet").write_text("no")
    with pytest.raises(InputError, match=r"plan\.parquet"):
        read_plan(tmp_path / "plan.parquet")
