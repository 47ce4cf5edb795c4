"""Acceptance thresholds from evidence: for each class the lowest at which what passes is pure enough, and how sure that is."""

from collections.abc import Sequence

import numpy as np

from figment.errors import InputError
from figment.types import Natural, Settings, Share

MAX_CANDIDATES = 100
Scores = Sequence[float] | np.ndarray
Bounded = tuple[np.ndarray, np.ndarray, np.ndarray]  # estimates, and both ends of their intervals


class Threshold(Settings):
    """Accept an image for a class if its probability is at least ``value``.

    ``precision`` is the estimated share of accepted images that show the class and [``low``, ``high``] its interval;
    ``accepted`` the share of the class's own images that pass, ``negatives`` how many others it was measured against.
    ``reached`` says whether ``low`` is at the target; if no threshold gets there, this is the one that gets nearest.
    """

    value: Share
    precision: Share
    low: Share
    high: Share
    accepted: Share
    negatives: Natural
    reached: bool


def proportion_interval(successes: np.ndarray, trials: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson bounds of proportions. No trials: nothing is known, 0 and 1."""
    tail, k = (1 - confidence) / 2, np.asarray(successes)
    if trials == 0:
        return np.zeros(k.shape), np.ones(k.shape)
    from scipy.stats import beta  # a second, which a check of a config saves

    low = np.where(k == 0, 0.0, beta.ppf(tail, np.maximum(k, 1), trials - k + 1))
    high = np.where(k == trials, 1.0, beta.ppf(1 - tail, k + 1, np.maximum(trials - k, 1)))
    return low, high


def threshold_from_negatives(
    requested: Scores, negatives: Scores, target_precision: float, confidence: float = 0.95
) -> Threshold:
    """Without any labelled image: from the probabilities of those asked for the class, and of those asked for others.

    If images that failed to show the class score as other classes' images do, then of the share A that passes
    F FPR is wrong, where F is the share that failed: precision = 1 - F FPR / A. F itself is at most the share of requested
    images below the negatives' median over the share of negatives there (Storey 2002), so the estimate is a lower bound.
    It is too bright where failures look more like the class than other classes' images do.
    """
    each = 1 - (1 - confidence) / 4  # four intervals must hold together
    own, others = _Shares(requested), _Shares(negatives)
    values = _candidates(own.scores, others.scores)
    share, fpr = own.at_least(values, each), others.at_least(values, each)
    middle = np.median(others.scores) if len(others.scores) else 0.0
    own_below, others_below = own.below(middle, each), others.below(middle, each)

    def failed(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.clip(_ratio(part, whole), 0, 1) if whole > 0 else np.ones(())

    def precision(passing: np.ndarray, wrong: np.ndarray, failing: np.ndarray) -> np.ndarray:
        return np.clip(_ratio(passing - failing * wrong, passing), 0, 1)

    estimate = precision(share[0], fpr[0], failed(own_below[0], others_below[0]))
    low = precision(share[1], fpr[2], failed(own_below[2], others_below[1]))
    high = precision(share[2], fpr[1], failed(own_below[1], others_below[2]))
    return _lowest(values, (estimate, low, high), share[0], len(others.scores), target_precision)


class _Shares:
    """Shares of some scores on one side of a value, each with the bounds of its interval: (estimate, low, high)."""

    def __init__(self, scores: Scores):
        self.scores = np.sort(np.asarray(scores, float))
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise InputError("thresholds are fitted to probabilities from 0 to 1; a score is outside, or NaN")

    def at_least(self, values: np.ndarray, confidence: float) -> Bounded:
        return self._share(len(self.scores) - np.searchsorted(self.scores, values), confidence)

    def below(self, value: float, confidence: float) -> Bounded:
        return self._share(np.searchsorted(self.scores, np.array(value)), confidence)

    def _share(self, counts: np.ndarray, confidence: float) -> Bounded:
        return counts / max(len(self.scores), 1), *proportion_interval(counts, len(self.scores), confidence)


def _lowest(values: np.ndarray, precision: Bounded, accepted: np.ndarray, negatives: int, target: float) -> Threshold:
    """The lowest of ascending ``values`` whose bound reaches the target, else the one that comes nearest."""
    estimate, low, high = precision
    reaching = np.flatnonzero(low >= target)
    best = int(reaching[0]) if len(reaching) else int(np.lexsort((accepted, estimate, low))[-1])
    return Threshold(
        value=float(values[best]),
        precision=float(estimate[best]),
        low=float(low[best]),
        high=float(high[best]),
        accepted=float(accepted[best]),
        negatives=negatives,
        reached=len(reaching) > 0,
    )


def _candidates(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(K,) ascending values between which no decision on ``own`` changes, thinned out to at most ``MAX_CANDIDATES``."""
    values = np.unique(np.concatenate([own, others, [0.5]]))
    if len(values) > MAX_CANDIDATES:
        values = np.unique(np.quantile(values, np.linspace(0, 1, MAX_CANDIDATES), method="nearest"))
    return values


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, and 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros_like(np.asarray(part, float)), where=np.asarray(whole) > 0)
