"""Multi-label numbers: mean average precision over classes, precision, recall and F1 of the k best classes of an image."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from figment.errors import InputError
from figment.metrics.measures import KS

RANKED = 2**20  # scores ranked at a time


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
    columns = max(1, RANKED // len(s))
    parts = zip(s.split(columns, 1), t.split(columns, 1), strict=True)
    return torch.cat([_average_precisions(each, shown) for each, shown in parts]).numpy()


def _average_precisions(scores: Tensor, shown: Tensor) -> Tensor:
    """(C,) float64"""
    order = scores.t().contiguous().argsort(dim=1, descending=True, stable=True)
    hits = shown.t().gather(1, order).double()
    precision = hits.cumsum(1) / torch.arange(1, len(scores) + 1)
    return (precision * hits).cumsum(1)[:, -1] / hits.sum(1)  # a cumulated sum adds in the same order in any block


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
    return precision_recall_f1_at(scores, targets, (k,), drop_unlabelled)[k]


def precision_recall_f1_at(
    scores: ArrayLike | Tensor, targets: ArrayLike | Tensor, ks: Sequence[int], drop_unlabelled: bool = False
) -> dict[int, PrecisionRecallF1]:
    """``precision_recall_f1_at_k`` for each of ``ks``, from one ranking."""
    if not ks:
        return {}
    if min(ks) < 1:
        raise InputError(f"k: {min(ks)} classes an image; give 1 or more")
    s, t = _checked(scores, targets)
    if drop_unlabelled:
        labelled = t.any(1)
        s, t = s[labelled], t[labelled]
    hits, positives = t.gather(1, k_best(s, max(ks))), int(t.count_nonzero())
    return {k: _micro(int(hits[:, :k].sum()), hits[:, :k].numel(), positives) for k in ks}


def measures(scores: Tensor, targets: Tensor, ks: Sequence[int] = KS, drop_unlabelled: bool = True) -> dict[str, float]:
    """``mAP``, in which a label that no image has counts as 0, and ``P@k``, ``R@k``, ``F1@k`` for each of ``ks``, from
    scores and targets (N, C).

    Whether images without any of the labels count is where the published evaluations differ: Ben-Cohen et al. leave them
    out, Zhang et al. do not.
    """
    shown = targets > 0
    labelled = shown.any(1)
    if drop_unlabelled and not labelled.all():
        scores, shown = scores[labelled], shown[labelled]
    found = {"mAP": mean_average_precision(scores, shown)}
    for k, counted in precision_recall_f1_at(scores, shown, ks).items():
        found |= {f"P@{k}": counted.precision, f"R@{k}": counted.recall, f"F1@{k}": counted.f1}
    return found


def measures_under(
    protocols: Mapping[str, Tensor],
    scores: Tensor,
    targets: Tensor,
    ks: Sequence[int] = KS,
    drop_unlabelled: bool = True,
) -> dict[str, float]:
    """``measures`` of each protocol as ``PROTOCOL/MEASURE``: ``{"zsl": unseen (C,) boolean}`` says which labels it ranks."""
    return {
        f"{protocol}/{name}": value
        for protocol, columns in protocols.items()
        for name, value in measures(_columns(scores, columns), _columns(targets, columns), ks, drop_unlabelled).items()
    }


def _columns(table: Tensor, columns: Tensor) -> Tensor:
    return table if columns.all() else table[:, columns]


def k_best(scores: Tensor, k: int) -> Tensor:
    """(N, k) ids of the highest ``scores`` (N, C) of each row, or all C if there are fewer, the best first; of equal scores
    the lower id first."""
    k = min(k, scores.shape[1])
    return torch.cat([_k_best(part, k) for part in scores.split(max(1, RANKED // scores.shape[1]))])


def _k_best(scores: Tensor, k: int) -> Tensor:
    values, ids = scores.topk(k, dim=1)
    ids = ids.sort(dim=1).values
    ids = ids.gather(1, scores.gather(1, ids).argsort(dim=1, descending=True, stable=True))
    several = (scores >= values[:, -1:]).sum(1) > k  # equal ones from which topk takes any
    ids[several] = scores[several].argsort(dim=1, descending=True, stable=True)[:, :k]
    return ids


def _micro(hits: int, predicted: int, positives: int) -> PrecisionRecallF1:
    precision = hits / predicted if predicted else 0.0
    recall = hits / positives if positives else 0.0
    return PrecisionRecallF1(precision, recall, 2 * hits / (predicted + positives) if predicted + positives else 0.0)


def _checked(scores: ArrayLike | Tensor, targets: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) scores of float32 or float64, and bool targets, on the CPU."""
    s, t = _tensor(scores), _tensor(targets)
    if s.ndim != 2 or s.shape != t.shape or not s.numel():
        raise InputError(
            f"scores {tuple(s.shape)} and targets {tuple(t.shape)}: both must be (images, classes), with at least one of each"
        )
    if nans := int(s.isnan().count_nonzero()):
        raise InputError(f"scores: {nans} of {s.numel()} are NaN; every image needs a score for every class")
    if t.dtype != torch.bool and (neither := (t != 0) & (t != 1)).any():
        raise InputError(f"targets: found {t[neither][0].item()}; a class is there (1) or not (0)")
    return s if s.dtype in (torch.float32, torch.float64) else s.double(), t.bool()


def _tensor(values: ArrayLike | Tensor) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().cpu()
    array = np.array(values, order="C")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
