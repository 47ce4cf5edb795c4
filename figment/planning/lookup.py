"""Find planned images by their ids, in one plan or in all plans below a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from figment import store
from figment.errors import InputError
from figment.planning.plan import check_rows, ranges
from figment.planning.row import SCHEMA

ARTIFACTS = Path(store.FOLDER)
ROWS = 100_000  # of a plan in memory at a time


def find_plans(image_id: str, root: Path = ARTIFACTS) -> list[Path]:
    """The plans under ``root`` that ask for an image, whose id is or begins with ``image_id``. Raises InputError if none
    does."""
    plans = sorted(path for path in root.glob("**/plan*.parquet"))
    found = [plan for plan in plans if next(_rows(plan, image_id, ["image_id"]), None)]
    if not found:
        raise InputError(f"{root}/: none of {len(plans)} plans holds an image {image_id!r}; name the plan with --plan")
    return found


def planned_row(plan: Path, image_id: str) -> dict[str, Any]:
    """The one row of a plan whose id is, or begins with, ``image_id``."""
    rows = list(_rows(plan, image_id, None))
    if len(rows) != 1:
        count = "no image" if not rows else f"{len(rows)} images"
        raise InputError(
            f"{plan}: {count} whose id begins with {image_id!r}; give one id of the plan, or its beginning"
        )
    check_rows([pa.Table.from_pylist(rows, SCHEMA)], plan)
    return rows[0]


def _rows(plan: Path, image_id: str, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    for part in ranges(plan, ROWS, columns):
        yield from part.filter(pc.starts_with(part["image_id"], image_id.lower())).to_pylist()
