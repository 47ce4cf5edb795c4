"""Top-1 accuracy, calibration and differences between classifiers, with bootstrap intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from figment.errors import InputError

WEIGHTED = 50  # resamples of a ranking in memory at a time


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy in [0, 1] with its 95 % bootstrap interval over the test images."""

    top1: float
    low: float
    high: float


def check_finite(name: str, scores: Tensor) -> None:
    """Raise InputError if any of a classifier's ``scores`` is infinite or NaN: it could not be compared with others."""
    if not torch.isfinite(scores).all():
        raise InputError(f"{name}: its scores on the test images are not finite; train it at a lower learning_rate")


def top1(logits: Tensor, labels: Tensor, resamples: int = 2000, seed: int = 0) -> Score:
    """Share of rows of ``logits`` (N, C) whose largest entry is at ``labels`` (N,)."""
    correct = (logits.argmax(1) == labels).numpy().astype(np.float64)
    if correct.std() == 0:
        return Score(float(correct[0]), float(correct[0]), float(correct[0]))
    from scipy.stats import bootstrap  # a second, which a run that measures nothing new saves

    interval = bootstrap((correct,), np.mean, n_resamples=resamples, method="percentile", rng=seed).confidence_interval
    return Score(float(correct.mean()), float(interval.low), float(interval.high))


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """(C, C) counts: row the true class, column the predicted one."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(logits.argmax(1), labels, num_classes=logits.shape[1])


def per_class(logits: Tensor, labels: Tensor) -> list[Score]:
    """Top-1 among the images of each class, with its interval; every class has at least one."""
    return [top1(logits[labels == label], labels[labels == label]) for label in range(logits.shape[1])]


def calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): how far the probability of the predicted class is from the share of
    right answers, in the mean over ``bins`` of equal width weighted by their images."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(multiclass_calibration_error(logits.softmax(1), labels, logits.shape[1], n_bins=bins, norm="l1"))


def gap_closed(score: float, baseline: float, upper_bound: float) -> float | None:
    """How much of the way from the baseline to the real-trained upper bound; None if there is no way to go."""
    return (score - baseline) / (upper_bound - baseline) if upper_bound > baseline else None


def paired_difference(first: Tensor, second: Tensor, labels: Tensor, resamples: int = 2000, seed: int = 0) -> Score:
    """Top-1 of ``first`` minus top-1 of ``second`` on the same images, with the paired bootstrap's interval."""
    gain = (first.argmax(1) == labels).double() - (second.argmax(1) == labels).double()
    rng = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(gain), (resamples, len(gain)), generator=rng)
    means = gain[draws].mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Score(float(gain.mean()), low, high)


def macro_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The mean over the classes that ``labels`` (N,) holds of the share of right answers among each one's images."""
    return float(_class_weights(labels)[logits.argmax(1) == labels].sum())


def macro_score(logits: Tensor, labels: Tensor, resamples: int = 2000, seed: int = 0) -> Score:
    """``macro_accuracy`` with its 95 % interval by the bootstrap over each class's images."""
    return _macro_bootstrap((logits.argmax(1) == labels).double(), labels, resamples, seed)


def paired_macro_difference(
    first: Tensor, second: Tensor, labels: Tensor, resamples: int = 2000, seed: int = 0
) -> Score:
    """Macro accuracy of ``first`` minus that of ``second`` on the same images, with the paired bootstrap's interval."""
    gain = (first.argmax(1) == labels).double() - (second.argmax(1) == labels).double()
    return _macro_bootstrap(gain, labels, resamples, seed)


def map_difference(first: Tensor, second: Tensor, targets: Tensor, resamples: int = 500, seed: int = 0) -> Score:
    """Mean average precision of ``first`` (N, C) minus that of ``second`` on the same images with 0/1 ``targets`` (N, C), over
    the classes that have a positive, with the paired bootstrap's interval: each resample weights the images again."""
    return _map_bootstrap(
        lambda weights: _weighted_map(first, targets, weights) - _weighted_map(second, targets, weights),
        len(targets),
        resamples,
        seed,
    )


def map_score(scores: Tensor, targets: Tensor, resamples: int = 500, seed: int = 0) -> Score:
    """Mean average precision of ``scores`` (N, C) with 0/1 ``targets`` (N, C), over the classes that have a positive, with its
    95 % bootstrap interval over the images."""
    return _map_bootstrap(lambda weights: _weighted_map(scores, targets, weights), len(targets), resamples, seed)


def _map_bootstrap(measure: Callable[[np.ndarray], np.ndarray], count: int, resamples: int, seed: int) -> Score:
    """``measure`` takes weights (R, N) and gives (R,)."""
    rng = np.random.default_rng(seed)
    means = []
    for block in range(0, resamples, WEIGHTED):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(WEIGHTED, resamples - block))
        means.append(measure(drawn))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Score(float(measure(np.ones((1, count)))[0]), float(low), float(high))


def _weighted_map(scores: Tensor, targets: Tensor, weights: np.ndarray) -> np.ndarray:
    """(R,) mean average precision where image i is there ``weights`` (R, N) times."""
    s, t = scores.double().numpy(), targets.numpy()
    found = []
    for column in np.flatnonzero(t.any(0)):
        order = np.argsort(-s[:, column], kind="stable")
        seen = weights[:, order]
        hits = seen * t[order, column]
        right = hits.cumsum(1)
        precision = np.divide(right, seen.cumsum(1), out=np.zeros(right.shape), where=right > 0)
        total = right[:, -1]
        found.append(np.divide((hits * precision).sum(1), total, out=np.full(len(total), np.nan), where=total > 0))
    return np.nanmean(found, axis=0)


def _class_weights(labels: Tensor) -> Tensor:
    """(N,) how much each image counts for a macro mean."""
    counts = torch.bincount(labels)
    return 1 / ((counts > 0).sum() * counts[labels]).double()


def _macro_bootstrap(values: Tensor, labels: Tensor, resamples: int, seed: int) -> Score:
    """The macro mean of ``values`` (N,); every resample has as many images of each class as there are."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.zeros(resamples, dtype=torch.float64)
    present = labels.unique().tolist()
    for label in present:
        own = values[labels == label]
        means += own[torch.randint(len(own), (resamples, len(own)), generator=rng)].mean(1) / len(present)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Score(float((values * _class_weights(labels)).sum()), low, high)
