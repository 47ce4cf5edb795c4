"""Multi-label numbers: mean average precision over classes, precision, recall and F1 of the k best classes of an image."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from figment.errors import InputError


class PrecisionRecallF1(NamedTuple):
    """Each in [0, 1]."""

    precision: float
    recall: float
    f1: float


def average_precisions(scores: ArrayLike | Tensor, targets: ArrayLike | Tensor) -> np.ndarray:
    """(C,) average precision of each class over the images (N,): the mean, over its positives, of the precision down to
    that rank. NaN for a class without a positive. Of equal scores the earlier image comes first.

    Raises InputError if the shapes differ, a score is NaN, or a target is neither 0 nor 1.
    """
    s, t = _checked(scores, targets)
    order = np.argsort(-s, axis=0, kind="stable")
    hits = np.take_along_axis(t, order, 0)
    precision = np.cumsum(hits, 0) / np.arange(1, len(hits) + 1)[:, None]
    positives = hits.sum(0)
    return np.divide((precision * hits).sum(0), positives, out=np.full(len(positives), np.nan), where=positives > 0)


def mean_average_precision(
    scores: ArrayLike | Tensor, targets: ArrayLike | Tensor, absent: Literal["zero", "ignore"] = "zero"
) -> float:
    """Mean over classes, in [0, 1], from ``scores`` and 0/1 ``targets`` (N, C), numpy or torch.

    A class without a positive counts as 0, as in the published evaluations (``zero``), or not at all (``ignore``).
    """
    if absent not in ("zero", "ignore"):
        raise InputError(f"absent: {absent!r} is neither 'zero' nor 'ignore'")
    values = average_precisions(scores, targets)
    if absent == "zero":
        return float(np.nan_to_num(values).mean())
    if np.isnan(values).all():
        raise InputError("targets: no class has a positive image, so there is no average precision to take the mean of")
    return float(np.nanmean(values))


def precision_recall_f1_at_k(
    scores: ArrayLike | Tensor, targets: ArrayLike | Tensor, k: int, drop_unlabelled: bool = False
) -> PrecisionRecallF1:
    """Counted over all images at once (micro): each image predicts its ``k`` best classes, all if there are fewer.

    Of equal scores the class of the lower id comes first. An image without any label makes k wrong predictions, unless
    ``drop_unlabelled``. Where there is nothing to divide by, a number is 0.
    """
    if k < 1:
        raise InputError(f"k: {k} classes an image; give 1 or more")
    s, t = _checked(scores, targets)
    if drop_unlabelled:
        labelled = t.any(1)
        s, t = s[labelled], t[labelled]
    best = np.argsort(-s, axis=1, kind="stable")[:, :k]
    hits, predicted, positives = int(np.take_along_axis(t, best, 1).sum()), best.size, int(t.sum())
    precision = hits / predicted if predicted else 0.0
    recall = hits / positives if positives else 0.0
    return PrecisionRecallF1(precision, recall, 2 * hits / (predicted + positives) if predicted + positives else 0.0)


def _checked(scores: ArrayLike | Tensor, targets: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) float scores and bool targets."""
    s, t = (np.asarray(x.detach().cpu().double() if isinstance(x, Tensor) else x) for x in (scores, targets))
    if s.ndim != 2 or s.shape != t.shape or not s.size:
        raise InputError(
            f"scores {s.shape} and targets {t.shape}: both must be (images, classes), with at least one of each"
        )
    if np.isnan(s).any():
        raise InputError(
            f"scores: {int(np.isnan(s).sum())} of {s.size} are NaN; every image needs a score for every class"
        )
    if not np.isin(t, (0, 1)).all():
        raise InputError(f"targets: found {t[~np.isin(t, (0, 1))][0]!r}; a class is there (1) or not (0)")
    return s.astype(float), t.astype(bool)
