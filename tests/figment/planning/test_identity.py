import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from figment.planning import plan as plans
from figment.planning.identity import identified, table_of
from figment.planning.plan import make_plan, write_plan
from figment.planning.row import SCHEMA, Row, record_of

TEXT = st.text(max_size=6) | st.sampled_from(['"', "\\", "\n\x01\x7f", "é中🦊", ",{}:[]"])
ROWS = st.builds(
    Row,
    prompt=TEXT.filter(bool),
    labels=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
    recipe=TEXT,
    trick=TEXT,
    domain=TEXT,
    negative_prompt=TEXT,
    model=TEXT,
    revision=TEXT,
    adapter=TEXT,
    width=st.sampled_from([32, 64]),
    height=st.just(32),
    guidance_scale=st.floats(0, 1e30, allow_nan=False) | st.sampled_from([-0.0, 4, 7.5, 1e22, 1e-7]),
    num_inference_steps=st.integers(2, 50),
    scheduler=st.just("DDIMScheduler"),
    stream=st.integers(-(2**63), 2**63 - 1),
    replicate=st.integers(0, 2**31 - 1),
    initial_image=st.sampled_from(["a", "b"]),
    mask=st.sampled_from(["", "c"]),
    strength=st.sampled_from([0.5, 1.0]),
    concept=st.sampled_from(["c", "d"]),
    noise=st.sampled_from([0.1, 1e-9]),
    shared_noise=TEXT,
    noise_draw=st.sampled_from(["", "x"]),
    long_prompts=st.booleans(),
    round=st.integers(0, 2),
    parent=TEXT,
)


@given(st.lists(ROWS, max_size=6), st.integers(0, 3))
def test_ids_made_by_the_column_are_those_of_the_rows(rows, first):
    records = [record_of(row) for row in rows]
    assert table_of(rows).equals(pa.Table.from_pylist(records, schema=SCHEMA))
    bare = pa.Table.from_pylist(records, schema=SCHEMA).drop_columns(["image_id", "seed"]).slice(first)  # an offset
    assert identified(bare)["image_id"].to_pylist() == [record["image_id"] for record in records[first:]]


def row(replicate: int) -> Row:
    return Row(
        prompt="a dog", labels=("dog",), recipe="r", trick="t", model="m", revision="1", width=32, height=32,
        guidance_scale=4.0, num_inference_steps=12, scheduler="DDIMScheduler", stream=0, replicate=replicate,
    )  # fmt: skip


@pytest.mark.parametrize("chunk", [16, 16_384])
def test_a_plan_of_tables_is_the_plan_of_their_rows(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(plans, "CHUNK", chunk)
    rows = [row(i) for i in range(500)]
    bare = table_of(rows).drop_columns(["image_id", "seed"])
    write_plan(iter(rows), tmp_path / "rows")
    write_plan((bare.slice(start, 30) for start in range(0, 500, 30)), tmp_path / "tables")
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "tables").read_bytes()
    assert make_plan(rows).equals(make_plan(reversed(rows)))


def test_columns_that_are_no_rows_are_refused():
    bare = table_of([row(0)]).drop_columns(["image_id", "seed"])
    with pytest.raises(ValidationError):
        identified(bare.set_column(bare.schema.get_field_index("width"), "width", pa.array([33])))
    with pytest.raises(pa.ArrowInvalid, match="no empty values"):
        identified(bare.set_column(0, "prompt", pa.array([None], pa.string())))
