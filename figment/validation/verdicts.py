"""Verdicts: for each image accepted or one named reason, and the numbers behind it. The images are never touched."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.validation.config import AcceptanceConfig

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
HUMAN_DROP = "human_drop"  # a person said so (figment.validation.review)
REASONS = ("accepted", "unsafe", "blank", "near_uniform", "wrong_class", "low_probability", "surplus", HUMAN_DROP)
BLANK = 1 / 255  # contrast below which nothing at all is to be seen


def judge(probability: float, is_top1: bool, contrast: float, unsafe: bool, config: AcceptanceConfig) -> str:
    """``accepted`` or the reason why not."""
    if unsafe:
        return "unsafe"
    if not contrast >= config.min_contrast:  # so is NaN
        return "near_uniform" if contrast >= BLANK else "blank"
    if config.require_top1 and not is_top1:
        return "wrong_class"
    return "accepted" if probability >= config.min_probability else "low_probability"


def make_verdicts(
    rows: Sequence[Mapping[str, Any]], probabilities: np.ndarray, space: LabelSpace, config: AcceptanceConfig
) -> pa.Table:
    """One verdict for each pool row (image_id, labels, trick, contrast, unsafe) from zero-shot ``probabilities`` (N, C)."""
    verdicts: list[dict[str, Any]] = []
    for row, scores in zip(rows, probabilities, strict=True):
        label, best = row["labels"][0], int(scores.argmax())
        requested = space.names.index(label)
        probability = float(scores[requested])
        reason = judge(probability, best == requested, row["contrast"], row["unsafe"], config)
        verdicts.append(
            {
                "image_id": row["image_id"],
                "accepted": reason == "accepted",
                "reason": reason,
                "label": label,
                "trick": row["trick"],
                "predicted": space.names[best],
                "probability": probability,
                "contrast": row["contrast"],
            }
        )
    return pa.Table.from_pylist(verdicts, schema=SCHEMA)


def empty_pictures(pool: Pool, image_ids: Iterable[str]) -> set[str]:
    """Those of a pool's pictures that show nothing, whatever they were meant to show: blank or stopped as unsafe."""
    batches = pool.read(image_ids, ["image_id", "contrast", "unsafe"])
    return {
        row["image_id"] for part in batches for row in part.to_pylist() if row["unsafe"] or not row["contrast"] >= BLANK
    }


def yields(verdicts: pa.Table, by: str) -> dict[str, float]:
    """Accepted share for each value of a column (``label``, ``trick``)."""
    total = Counter(verdicts[by].to_pylist())
    passed = Counter(verdicts.filter(verdicts["accepted"])[by].to_pylist())
    return {value: passed[value] / total[value] for value in sorted(total)}


def reasons(verdicts: pa.Table, known: Sequence[str] = REASONS) -> dict[str, int]:
    """Images by each ``known`` reason; they sum to the number of verdicts."""
    found = Counter(verdicts["reason"].to_pylist())
    return {reason: found[reason] for reason in known}
