"""The table of a run: every classifier on the same real test images, between chance and the real-trained bound."""

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from figment.labels import LabelSpace
from figment.metrics import accuracy
from figment.metrics.diversity import Ledger
from figment.planning.bag_of_tricks import BEST, CLIP_UNLABELLED, COMBINED, RANDOM, REAL, ROUNDS, chosen_of

CHANCE, CLIP, BASE = "chance", "CLIP zero-shot", "base_class"


class Result(BaseModel):
    """Top-1 in [0, 1] on the real test images with its 95 % bootstrap interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int | None  # images it was trained on
    top1: float
    low: float
    high: float
    gain: tuple[float, float, float] | None = None  # over base class, paired: mean and 95 % interval
    gap_closed: float | None = None
    per_class: tuple[float, ...] = ()  # top-1 among each class's images, in the labels' order
    calibration_error: float | None = None


class Results(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...]
    test_images: int
    rows: tuple[Result, ...]
    confusion: tuple[tuple[int, ...], ...]  # of confusion_of: row the true class, column the predicted
    confusion_of: str
    diversity: dict[str, Ledger] = {}  # of each synthetic set, at the same number of images
    gains: dict[str, tuple[float, float, float]] = {}  # of confusion_of over its rivals, paired: mean and 95 % interval

    def __getitem__(self, name: str) -> Result:
        return next(row for row in self.rows if row.name == name)


def tabulate(
    labels: LabelSpace,
    truth: Tensor,
    clip_logits: Tensor,
    logits: dict[str, Tensor],
    images: dict[str, int],
    deployed: str = "",
) -> Results:
    """``logits`` of each classifier (N, C) by its name, ``images`` it was trained on; ``truth`` (N,). ``deployed``: whose
    classifier is looked at closer, if not that of ``chosen_of``."""
    for name, scores in {CLIP: clip_logits, **logits}.items():
        accuracy.check_finite(name, scores)
    base, bound = logits.get(BASE), logits.get(REAL)
    ends: tuple[float, float] | None = None
    if base is not None and bound is not None:
        ends = (accuracy.top1(base, truth).top1, accuracy.top1(bound, truth).top1)
    rows = [Result(name=CHANCE, images=None, top1=1 / len(labels), low=1 / len(labels), high=1 / len(labels))]
    for name, scores in {CLIP: clip_logits, **logits}.items():
        row = _row(name, images.get(name), scores, truth)
        if base is not None and name not in (CLIP, BASE):
            row = row.model_copy(update={"gain": _gain(scores, base, truth)})
        if ends and name not in (CLIP, BASE, REAL):
            row = row.model_copy(update={"gap_closed": accuracy.gap_closed(row.top1, *ends)})
        rows.append(row)
    shown = deployed or chosen_of(logits)
    rivals = {BASE: base, CLIP: clip_logits, CLIP_UNLABELLED: logits.get(CLIP_UNLABELLED), REAL: bound}
    if shown == ROUNDS:
        rivals |= {name: logits.get(name) for name in (BEST, COMBINED, RANDOM)}
    return Results(
        labels=labels.names,
        test_images=len(truth),
        rows=tuple(rows),
        confusion=tuple(tuple(line) for line in accuracy.confusion(logits[shown], truth).tolist()),
        confusion_of=shown,
        gains={
            name: _gain(logits[shown], scores, truth)
            for name, scores in rivals.items()
            if scores is not None and name != shown
        },
    )


def _row(name: str, images: int | None, scores: Tensor, truth: Tensor) -> Result:
    score = accuracy.top1(scores, truth)
    return Result(
        name=name,
        images=images,
        top1=score.top1,
        low=score.low,
        high=score.high,
        per_class=tuple(of_class.top1 for of_class in accuracy.per_class(scores, truth)),
        calibration_error=accuracy.calibration_error(scores, truth),
    )


def _gain(scores: Tensor, rival: Tensor, truth: Tensor) -> tuple[float, float, float]:
    """Paired: mean and 95 % interval."""
    found = accuracy.paired_difference(scores, rival, truth)
    return found.top1, found.low, found.high
