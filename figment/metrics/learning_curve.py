"""The learning curve: error against training images, err(n) = a + b n^-k, and what more images would gain."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POWERS = np.arange(1, 21) / 10
POINTS = 3  # measured sizes from which a curve with three numbers is fitted


class LearningCurve(NamedTuple):
    """``a`` is the error that no number of images goes below."""

    a: float
    b: float
    k: float

    def at(self, images: float) -> float:
        return self.a + self.b * images**-self.k


class Gain(NamedTuple):
    """Points of error that more images take away, in [0, 1]: the median over resamples and its 95 % interval."""

    value: float
    low: float
    high: float


def fit_curves(images: Sequence[int], errors: np.ndarray) -> list[LearningCurve]:
    """One curve a row of ``errors`` (B, R), measured at ``images`` (R,): least squares with a and b not negative."""
    first = float(images[0])
    least, best = np.full(len(errors), np.inf), np.zeros((len(errors), 3))
    for k in POWERS:
        x = (np.asarray(images, float) / first) ** -k
        centred = x - x.mean()
        b = np.maximum(0, (errors - errors.mean(1, keepdims=True)) @ centred / max(centred @ centred, 1e-12))
        a = errors.mean(1) - b * x.mean()
        a, b = np.where(a < 0, 0, a), np.where(a < 0, errors @ x / (x @ x), b)
        loss = ((a[:, None] + b[:, None] * x - errors) ** 2).sum(1)
        better = loss < least - 1e-12
        least[better] = loss[better]
        best[better] = np.stack([a, b * first**k, np.full(len(a), k)], 1)[better]
    return [LearningCurve(*map(float, row)) for row in best]


def next_gain(images: Sequence[int], wrong: np.ndarray, following: int, resamples: int = 400, seed: int = 0) -> Gain:
    """What a training on ``following`` images is expected to gain over the last of ``images`` (R,), by curves fitted to
    resamples of the N images on which each classifier was ``wrong`` (R, N) or not: all are measured on the same images."""
    draws = np.random.default_rng(seed).integers(wrong.shape[1], size=(resamples, wrong.shape[1]))
    errors = np.stack([row[draws].mean(1) for row in wrong.astype(float)], 1)
    gains = [curve.at(images[-1]) - curve.at(following) for curve in fit_curves(images, errors)]
    low, value, high = np.quantile(gains, [0.025, 0.5, 0.975])
    return Gain(float(value), float(low), float(high))
