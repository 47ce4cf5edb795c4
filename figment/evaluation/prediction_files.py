"""Predictions in a file: CSV, Parquet or lines of JSON, by the file's ending."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from figment.errors import InputError
from figment.files import atomic
from figment.image_files import UnreadImages

ENDINGS = (".csv", ".parquet", ".jsonl")


def check_ending(path: Path) -> None:
    """Raise InputError for a file of another kind."""
    if path.suffix not in ENDINGS:
        raise InputError(f"--out {path}: ends with {path.suffix or 'nothing'!r}; expected {', '.join(ENDINGS)}")


def write_predictions(lines: Iterable[str], path: Path) -> int:
    """Write lines of JSON as a table with a column a field; returns the number of rows. Images that cannot be read have their
    row, and UnreadImages is raised when the file is there."""
    check_ending(path)
    rows: list[dict[str, Any]] = []
    unread: UnreadImages | None = None
    try:
        rows.extend(map(json.loads, lines))
    except UnreadImages as error:
        unread = error
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = [{name: row.get(name) for name in columns} for row in rows]
    with atomic(path) as partial:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(table), partial)
        elif path.suffix == ".csv":
            with partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(table)
        else:
            partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    if unread is not None:
        raise unread
    return len(rows)
