"""The human pass: what a person said of images on a run's review.html, by image id, overrules CLIP."""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from figment.errors import InputError
from figment.reading import read_text
from figment.text import reason_of
from figment.validation.verdicts import HUMAN_DROP

REVIEW = "review.csv"  # in a run's folder
COLUMNS = ["image_id", "decision"]
DECISIONS = {"keep": True, "drop": False}
ID = re.compile("[0-9a-f]{64}")


def read_review(path: Path) -> dict[str, bool]:
    """Whether each image is kept, by id. Raises InputError, with the row, for what review.html did not save."""
    text = read_text(path, "the review.csv that review.html saves", kind="a readable CSV file")
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        if reader.fieldnames != COLUMNS:
            raise InputError(
                f"review {path}: columns are {', '.join(reader.fieldnames or []) or 'missing'}; expected {', '.join(COLUMNS)}"
            )
        rows = list(reader)
    except csv.Error as error:
        raise InputError(
            f"review {path}: not a readable CSV file ({reason_of(error)}); save it from review.html again"
        ) from error
    review: dict[str, bool] = {}
    for number, row in enumerate(rows, 2):
        image_id, decision = (str(row[name] or "").strip() for name in COLUMNS)
        if not ID.fullmatch(image_id):
            raise InputError(f"review {path} row {number}: image_id {image_id[:80]!r}; expected 64 hex digits")
        if decision not in DECISIONS:
            raise InputError(f"review {path} row {number}: decision {decision[:80]!r}; expected keep or drop")
        if review.setdefault(image_id, DECISIONS[decision]) != DECISIONS[decision]:
            raise InputError(f"review {path} row {number}: {image_id[:12]} is kept and dropped; decide for one")
    return review


def apply_review(verdicts: pa.Table, review: Mapping[str, bool]) -> pa.Table:
    """The verdicts, with what was dropped turned to ``human_drop`` and what was kept accepted as what it was
    asked to show. Ids that no verdict is about
    are passed over: the plan may have changed since the review."""
    if not review:
        return verdicts
    kept, dropped = (
        pc.is_in(verdicts["image_id"], pa.array([i for i, keep in review.items() if keep is kind], pa.string()))
        for kind in (True, False)
    )
    decided = {
        "accepted": pc.or_(kept, pc.and_(verdicts["accepted"], pc.invert(dropped))),
        "reason": pc.if_else(kept, "accepted", pc.if_else(dropped, HUMAN_DROP, verdicts["reason"])),
        "predicted": pc.if_else(kept, verdicts["labels"], verdicts["predicted"]),
    }
    return pa.table({**{name: verdicts[name] for name in verdicts.column_names}, **decided}).cast(verdicts.schema)
