import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.errors import InputError
from figment.planning import plan as plans
from figment.planning.plan import (
    check_sorted,
    count_rows,
    make_plan,
    ranges,
    read_plan,
    rechunk,
    union,
    write_plan,
)
from figment.planning.row import Row


def row(replicate: int, label: str = "dog") -> Row:
    return Row(
        prompt=f"a {label}", labels=(label,), recipe="r", trick="t", model="m", revision="1", width=32, height=32,
        guidance_scale=4.0, num_inference_steps=12, scheduler="DDIMScheduler", stream=0, replicate=replicate,
    )  # fmt: skip


@given(st.lists(st.integers(0, 9), max_size=12), st.randoms())
def test_the_order_of_rows_and_repetition_never_matter(numbers, dice):
    rows = [row(n) for n in numbers]
    shuffled = rows + rows[: len(rows) // 2]
    dice.shuffle(shuffled)
    assert make_plan(rows).equals(make_plan(shuffled))


def test_the_same_plan_is_the_same_bytes(tmp_path):
    plan = make_plan(row(i) for i in range(50))
    for name in ("a", "b"):
        assert write_plan(plan, tmp_path / name) == 50
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_plan(tmp_path / "a").equals(plan)


def test_a_plan_larger_than_memory_is_sorted_on_disk_to_the_same_bytes(tmp_path, monkeypatch):
    """Chunks of 16 rows stand for memory: 500 rows, some repeated, spill into parts."""
    rows = [row(i % 450) for i in range(500)]
    write_plan(iter(rows), tmp_path / "whole")
    monkeypatch.setattr(plans, "CHUNK", 16)
    write_plan(iter(reversed(rows)), tmp_path / "spilt")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "spilt").read_bytes()
    assert count_rows(tmp_path / "spilt") == 450
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spilt", "whole"]


@given(st.integers(1, 60), st.integers(1, 25))
@settings(max_examples=25)
def test_ranges_cut_a_plan_evenly_whether_in_memory_or_on_disk(count, size):
    plan = make_plan(row(i) for i in range(count))
    parts = list(ranges(plan, size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert pa.concat_tables(parts).equals(plan)
    rechunked = list(rechunk(ranges(plan, 7), size))
    assert [len(part) for part in rechunked] == [len(part) for part in parts]
    assert pa.concat_tables(rechunked).combine_chunks().equals(plan.combine_chunks())


def test_ranges_of_a_file(tmp_path):
    plan = make_plan(row(i) for i in range(3000))
    write_plan(plan, tmp_path / "plan")
    assert [len(part) for part in ranges(tmp_path / "plan", 700)] == [700] * 4 + [200]
    ids = [i for part in ranges(tmp_path / "plan", 700, ["image_id"]) for i in part["image_id"].to_pylist()]
    assert ids == plan["image_id"].to_pylist()


def test_a_plan_is_read_range_by_range_in_flat_memory(tmp_path):
    """The ids of 200,000 rows take 6.4 MB even compressed; Parquet's reader is not to keep them."""
    first = make_plan([row(0)]).drop_columns(["image_id", "seed"])
    bare = pa.concat_tables([first] * 50_000).combine_chunks()
    where = bare.schema.get_field_index("replicate")
    numbers = (pa.array(range(start, start + 50_000), pa.int32()) for start in range(0, 200_000, 50_000))
    write_plan((bare.set_column(where, "replicate", column) for column in numbers), tmp_path / "plan")
    before = pa.total_allocated_bytes()
    used = [pa.total_allocated_bytes() - before for _ in ranges(tmp_path / "plan", 8192, ["image_id"])]
    assert len(used) == 25
    assert max(used) < 5e6


def test_plans_concatenate():
    dogs, cats = make_plan(row(i) for i in range(5)), make_plan(row(i, "cat") for i in range(5))
    both = union(dogs, cats, dogs)
    assert both.equals(make_plan(row(i, label) for label in ("cat", "dog") for i in range(5)))


def test_rows_out_of_order_or_twice_are_noticed_wherever_ranges_end(monkeypatch):
    monkeypatch.setattr(plans, "CHUNK", 4)
    for count in range(1, 10):
        plan = make_plan(row(i) for i in range(count))
        check_sorted(plan)
        for place in range(count - 1):
            order = list(range(count))
            order[place], order[place + 1] = order[place + 1], order[place]
            for wrong in (order, [*range(place + 1), *range(place, count)]):
                with pytest.raises(InputError, match="do not ascend by image_id"):
                    check_sorted(plan.take(wrong))


def test_a_plan_of_an_earlier_version_is_read_with_the_columns_that_came_since(tmp_path):
    plan = make_plan(row(i) for i in range(9))
    pq.write_table(plan.drop_columns(["round", "parent"]), tmp_path / "plan.parquet")
    assert read_plan(tmp_path / "plan.parquet").equals(plan)
    assert pa.concat_tables(ranges(tmp_path / "plan.parquet", 4)).equals(plan)
    pq.write_table(plan.drop_columns(["prompt"]), tmp_path / "plan.parquet")
    with pytest.raises(InputError, match=r"plan\.parquet.*prompt"):
        read_plan(tmp_path / "plan.parquet")


def test_a_file_that_is_no_plan_is_named(tmp_path):
    (tmp_path / "plan.parquet").write_text("no")
    with pytest.raises(InputError, match=r"plan\.parquet"):
        read_plan(tmp_path / "plan.parquet")


def test_a_planner_that_fails_leaves_nothing_behind(tmp_path):
    def rows():
        yield from (row(i) for i in range(3))
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_plan(rows(), tmp_path / "plan")
    assert list(tmp_path.iterdir()) == []
