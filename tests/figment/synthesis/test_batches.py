from hypothesis import given
from hypothesis import strategies as st

from figment.synthesis.batches import batch_key, fill_batches

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "image_id": st.integers(),
            "guidance_scale": st.floats(0, 9),
            "strength": st.sampled_from([0.5, 1.0]),
            "initial_image": st.sampled_from(["", "a", "b"]),
            "mask": st.sampled_from(["", "a", "b"]),
            "width": st.sampled_from([32, 64]),
            "adapter": st.sampled_from(["", "aa", "bb*0.5", "aa+bb*0.5"]),
        }
    ).map(
        lambda row: (
            row | {"model": "m", "revision": "r", "height": 32, "scheduler": "DDIMScheduler", "num_inference_steps": 4}
        )
    ),
    max_size=30,
    unique_by=lambda row: row["image_id"],
)


@given(ROWS, st.integers(1, 6), st.randoms())
def test_every_row_comes_once_in_batches_of_one_kind_and_few_are_short(rows, size, dice):
    batches = list(fill_batches(rows, lambda: size))
    assert sorted(row["image_id"] for batch in batches for row in batch) == sorted(row["image_id"] for row in rows)
    kinds = [{batch_key(row) for row in batch} for batch in batches]
    assert all(len(kind) == 1 for kind in kinds)
    assert sum(len(batch) < size for batch in batches) <= len(set().union(*kinds))


@given(ROWS)
def test_prompts_seeds_and_guidance_differ_freely_but_not_whether_there_is_any(rows):
    for batch in fill_batches(rows, lambda: 100):
        assert len({row["guidance_scale"] <= 1 for row in batch}) == 1


def test_a_smaller_size_counts_from_the_next_batch_on():
    row = {
        "model": "",
        "revision": "",
        "adapter": "",
        "height": 8,
        "width": 8,
        "scheduler": "",
        "num_inference_steps": 1,
    }
    rows = [row | {"initial_image": "", "strength": 1.0, "guidance_scale": 4.0}] * 10
    sizes = iter([4, 2, 2, 2, 2])
    assert [len(batch) for batch in fill_batches(rows, lambda: next(sizes))] == [4, 2, 2, 2]
