"""Verdicts: for each image accepted or one named reason, and the numbers behind it. The images are never touched."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from figment.labels import LabelSpace

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
        ("label", pa.string()),
        ("trick", pa.string()),
        ("predicted", pa.string()),
        ("probability", pa.float64()),
        ("contrast", pa.float64()),
    ]
)
REASONS = ("accepted", "blank", "wrong_class", "low_probability")


class AcceptanceConfig(BaseModel):
    """A picture passes if CLIP gives the requested class at least ``min_probability`` among all classes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_probability: float = Field(0.5, ge=0, le=1)
    require_top1: bool = True
    min_contrast: float = Field(0.02, ge=0, le=1)  # standard deviation of the pixels in [0, 1]; below it is blank


def judge(probability: float, is_top1: bool, contrast: float, config: AcceptanceConfig) -> str:
    """``accepted`` or the reason why not."""
    if contrast < config.min_contrast:
        return "blank"
    if config.require_top1 and not is_top1:
        return "wrong_class"
    return "accepted" if probability >= config.min_probability else "low_probability"


def make_verdicts(
    image_ids: Sequence[str],
    labels: Sequence[str],
    tricks: Sequence[str],
    probabilities: np.ndarray,
    contrasts: np.ndarray,
    space: LabelSpace,
    config: AcceptanceConfig,
) -> pa.Table:
    """One row an image from zero-shot ``probabilities`` (N, C) and pixel ``contrasts`` (N,), sorted by id."""
    rows: list[dict[str, Any]] = []
    for image_id, label, trick, scores, contrast in zip(
        image_ids, labels, tricks, probabilities, contrasts, strict=True
    ):
        best, requested = int(scores.argmax()), space.names.index(label)
        reason = judge(float(scores[requested]), best == requested, float(contrast), config)
        rows.append(
            {
                "image_id": image_id,
                "accepted": reason == "accepted",
                "reason": reason,
                "label": label,
                "trick": trick,
                "predicted": space.names[best],
                "probability": float(scores[requested]),
                "contrast": float(contrast),
            }
        )
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["image_id"]), schema=SCHEMA)


def yields(verdicts: pa.Table, by: str) -> dict[str, float]:
    """Accepted share for each value of a column (``label``, ``trick``)."""
    total = Counter(verdicts[by].to_pylist())
    passed = Counter(verdicts.filter(verdicts["accepted"])[by].to_pylist())
    return {value: passed[value] / total[value] for value in sorted(total)}


def reasons(verdicts: pa.Table) -> dict[str, int]:
    """Images by reason; they sum to the number of verdicts."""
    found = Counter(verdicts["reason"].to_pylist())
    return {reason: found[reason] for reason in REASONS}
