"""Acceptance thresholds from evidence: for each class the lowest at which what passes is pure enough, and how sure that is."""

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.stats import beta

MAX_CANDIDATES = 100
Scores = Sequence[float] | np.ndarray


class Threshold(BaseModel):
    """Accept a picture for a class if its probability is at least ``value``.

    ``precision`` is the estimated share of accepted pictures that show the class and [``low``, ``high``] its interval;
    ``accepted`` the share of the class's own pictures that pass, ``negatives`` how many others it was measured against.
    ``reached`` says whether ``low`` is at the target; if no threshold gets there, this is the one that gets nearest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    precision: float
    low: float
    high: float
    accepted: float
    negatives: int
    reached: bool


def proportion_interval(successes: np.ndarray, trials: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson bounds of proportions. No trials: nothing is known, 0 and 1."""
    tail, k = (1 - confidence) / 2, np.asarray(successes)
    if trials == 0:
        return np.zeros(k.shape), np.ones(k.shape)
    low = np.where(k == 0, 0.0, beta.ppf(tail, np.maximum(k, 1), trials - k + 1))
    high = np.where(k == trials, 1.0, beta.ppf(1 - tail, k + 1, np.maximum(trials - k, 1)))
    return low, high


def threshold_from_real(
    shown: Scores, absent: Scores, target_precision: float, prior: float, confidence: float = 0.95
) -> Threshold:
    """From a few real pictures' probabilities of the class: of those that show it and of those that do not.

    ``prior`` is the share of generated pictures asked for the class that do show it, before any filter. By Bayes,
    precision = prior TPR / (prior TPR + (1 - prior) FPR).
    """

    def precision(tpr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
        return _ratio(prior * tpr, prior * tpr + (1 - prior) * fpr)

    return _choose(shown, absent, target_precision, confidence, precision)


def threshold_from_negatives(
    requested: Scores, negatives: Scores, target_precision: float, confidence: float = 0.95
) -> Threshold:
    """Without any labelled picture: from the probabilities of those asked for the class, and of those asked for others.

    If pictures that failed to show the class score as other classes' pictures do, then of the share A that passes at most
    FPR is wrong, so precision >= 1 - FPR / A whatever the yield of the generator: the estimate is a lower bound. It is too
    bright where failures look more like the class than other classes' pictures do.
    """

    def precision(share: np.ndarray, fpr: np.ndarray) -> np.ndarray:
        return np.clip(_ratio(share - fpr, share), 0, 1)

    return _choose(requested, negatives, target_precision, confidence, precision)


def _choose(
    own_scores: Scores,
    other_scores: Scores,
    target: float,
    confidence: float,
    precision: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Threshold:
    """The lowest threshold whose bound reaches the target; ``precision`` takes the shares of both sides that pass.

    Each share's interval has half of the doubt, so the two together hold at the level asked for.
    """
    own, others = np.sort(np.asarray(own_scores, float)), np.sort(np.asarray(other_scores, float))
    values = _candidates(own, others)
    passed = len(own) - np.searchsorted(own, values)
    slipped = len(others) - np.searchsorted(others, values)
    own_low, own_high = proportion_interval(passed, len(own), (1 + confidence) / 2)
    others_low, others_high = proportion_interval(slipped, len(others), (1 + confidence) / 2)
    estimate = precision(passed / max(len(own), 1), slipped / max(len(others), 1))
    low, high = precision(own_low, others_high), precision(own_high, others_low)
    reaching = np.flatnonzero(low >= target)
    best = int(reaching[0]) if len(reaching) else int(np.lexsort((passed, estimate, low))[-1])
    return Threshold(
        value=float(values[best]),
        precision=float(estimate[best]),
        low=float(low[best]),
        high=float(high[best]),
        accepted=float(passed[best] / max(len(own), 1)),
        negatives=len(others),
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
