"""A plan whose rows were edited is refused, by row and field, before anything is rendered."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from figment.cli import main
from figment.errors import InputError
from figment.planning.plan import read_plan
from figment.planning.row import SCHEMA
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool

EDITS = {
    "the prompt": {"prompt": "an image of something else"},
    "the guidance": {"guidance_scale": 49.0},
    "the guidance, NaN": {"guidance_scale": float("nan")},
    "the seed": {"seed": 1},
    "a negative seed": {"seed": -1},
    "the labels": {"labels": ["frog"]},
    "the size": {"width": 7},
    "the model": {"model": "models/pocket/other"},
    "the adapter": {"adapter": "../../x"},
    "the source": {"initial_image": "../../x"},
    "a path as id": {"image_id": "../../x"},
    "no id": {"image_id": ""},
    "an id that is null": {"image_id": None},
    "another id": {"image_id": "0" * 64},
    "an id in capitals": {"image_id": "A" * 64},
    "a null prompt": {"prompt": None},
}


@pytest.fixture
def edited(plan, tmp_path):
    """Writes the plan with its row 0 (which sorts first whatever its id) changed."""

    def write(change):
        rows = plan.to_pylist()
        rows[0] |= change
        path = tmp_path / "plan.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
        return path

    return write


CONFIG = "parameters: {synthesis: {batch_size: 8, image_format: png}}"


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_an_edited_row_is_not_rendered(edited, tmp_path, capsys, change):
    path = edited(change)
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert main(["render", str(path), "-c", str(tmp_path / "config.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "plan.parquet" in error
    assert not list(tmp_path.glob("images/*.parquet"))


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_an_edited_row_is_not_estimated(edited, tmp_path, capsys, change):
    path = edited(change)
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert main(["estimate", str(path), "-c", str(tmp_path / "config.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "plan.parquet" in error
    assert not list(tmp_path.glob("images/*.parquet"))


@pytest.mark.parametrize("name", ["the prompt", "the seed", "a path as id", "the guidance"])
def test_the_sentence_names_row_and_field(edited, name):
    field = "seed" if name == "the seed" else "image_id"
    with pytest.raises(InputError, match=rf"plan\.parquet: row 0: {field} is "):
        read_plan(edited(EDITS[name]))


def test_an_edited_row_is_not_replayed(edited, plan, capsys):
    path = edited({"prompt": "an image of something else"})
    image_id = plan["image_id"][0].as_py()
    assert main(["replay", image_id, "--plan", str(path)]) == 2
    assert "image_id is" in capsys.readouterr().err


def test_a_row_in_memory_is_checked_too(plan, tmp_path, synthesis):
    rows = plan.to_pylist()
    rows[-1]["prompt"] = "x"
    with pytest.raises(InputError, match=r"plan: row 17: image_id is "):
        synthesise(pa.Table.from_pylist(rows, SCHEMA), Pool(tmp_path), synthesis)
