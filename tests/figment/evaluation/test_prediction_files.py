"""Predictions as a table, also if some images cannot be read."""

import csv
import json

import pyarrow.parquet as pq
import pytest

from figment.errors import InputError
from figment.evaluation.prediction_files import write_predictions
from figment.image_files import UnreadImages

ROWS = [
    {"image": "a.png", "label": "cat, or not", "probability": 0.5},
    {"image": "ü\n.png", "error": "not readable"},
    {"image": "c.png", "label": "dog", "probability": 1.0},
]


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_a_row_an_answer(tmp_path, ending):
    path = tmp_path / f"found{ending}"
    assert write_predictions(map(json.dumps, ROWS), path) == 3
    for found, row in zip(read(path), ROWS, strict=True):
        assert {name: str(value) for name, value in found.items() if value not in (None, "")} == {
            name: str(value) for name, value in row.items()
        }


def test_what_was_read_is_written_before_the_unreadable_is_told(tmp_path):
    def lines():
        yield json.dumps(ROWS[1])
        raise UnreadImages([InputError("not readable")], 1)

    with pytest.raises(UnreadImages):
        write_predictions(lines(), tmp_path / "found.csv")
    assert read(tmp_path / "found.csv") == [{"image": "ü\n.png", "error": "not readable"}]


@pytest.mark.parametrize("name", ["found", "found.txt", "found.CSV"])
def test_another_ending_is_told_before_anything_is_read(tmp_path, name):
    with pytest.raises(InputError, match=r"\.csv, \.parquet, \.jsonl"):
        write_predictions(iter(()), tmp_path / name)
    assert not list(tmp_path.iterdir())
