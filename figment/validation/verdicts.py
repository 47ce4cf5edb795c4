"""Verdicts: for each image accepted or one named reason, and the numbers behind it. The images are never touched."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.validation.policies import MostProbable, Policy

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
        ("labels", pa.list_(pa.string())),  # what it was asked to show
        ("trick", pa.string()),
        ("predicted", pa.list_(pa.string())),  # what is seen in it; of an accepted image what it is trained on as
        ("probability", pa.float64()),  # of the least probable of its labels
        ("contrast", pa.float64()),
    ]
)
LISTED = ["image_id", "accepted", "labels", "trick"]  # columns that decide a training list
COUNTED = ["accepted", "reason", "labels", "trick"]
HUMAN_DROP = "human_drop"  # a person said so (figment.validation.review)
SURPLUS = "surplus"  # beyond the number that was wanted
EASY, OUTLIER = "easy", "outlier"  # of a round: what the classifier is sure of, or least sure of all
REASONS = (
    "accepted", "unsafe", "blank", "near_uniform", "wrong_class", "low_probability", "missing_label", "other_label",
    SURPLUS, EASY, OUTLIER, HUMAN_DROP,
)  # fmt: skip
BLANK = 1 / 255  # contrast below which nothing at all is to be seen


def make_verdicts(
    rows: Sequence[Mapping[str, Any]], probabilities: np.ndarray, space: LabelSpace, policy: Policy | MostProbable
) -> pa.Table:
    """One verdict for each pool row (image_id, labels, trick, contrast, unsafe), in order, from ``probabilities`` (N, C)."""
    numbers = {name: number for number, name in enumerate(space.names)}
    verdicts: list[dict[str, Any]] = []
    for row, scores in zip(rows, probabilities, strict=True):
        requested = frozenset(numbers[name] for name in row["labels"])
        reason, predicted = policy.decide(scores, requested, space)
        if row["unsafe"]:
            reason = "unsafe"
        elif not row["contrast"] >= policy.min_contrast:  # so is NaN
            reason = "near_uniform" if row["contrast"] >= BLANK else "blank"
        elif not np.isfinite(scores).all():
            reason, predicted = "missing_label", ()
        verdicts.append(
            {
                "image_id": row["image_id"],
                "accepted": reason == "accepted",
                "reason": reason,
                "labels": list(row["labels"]),
                "trick": row["trick"],
                "predicted": [space.names[c] for c in predicted],
                "probability": min(float(scores[c]) for c in requested),
                "contrast": float(row["contrast"]),
            }
        )
    return pa.Table.from_pylist(verdicts, schema=SCHEMA)


def empty_images(pool: Pool, image_ids: Iterable[str]) -> set[str]:
    """Those of a pool's images that show nothing, whatever they were meant to show: blank or stopped as unsafe."""
    batches = pool.read(image_ids, ["image_id", "contrast", "unsafe"])
    return {
        row["image_id"] for part in batches for row in part.to_pylist() if row["unsafe"] or not row["contrast"] >= BLANK
    }


def yields(verdicts: pa.Table, by: str) -> dict[str, float]:
    """Accepted share for each value of a column: ``trick``, or ``labels``, of which an image counts for each that it was asked to
    show."""
    total, passed = (counted(table[by]) for table in (verdicts, verdicts.filter(verdicts["accepted"])))
    return {value: passed[value] / total[value] for value in sorted(total)}


def counted(column: pa.ChunkedArray) -> Counter[str]:
    """How often each value occurs, of lists each value within."""
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    return Counter({item["values"]: item["counts"] for item in values.value_counts().to_pylist()})


def reasons(verdicts: pa.Table) -> dict[str, int]:
    """Images by each reason; they sum to the number of verdicts."""
    found = counted(verdicts["reason"])
    return {reason: found[reason] for reason in REASONS}


def shown_labels(verdicts: pa.Table) -> dict[str, list[str]]:
    """What each accepted image is trained on as, by id."""
    passed = verdicts.filter(verdicts["accepted"])
    return dict(zip(passed["image_id"].to_pylist(), passed["predicted"].to_pylist(), strict=True))
