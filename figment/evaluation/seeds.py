"""What several seeds say together: a mean and its interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t


class Mean(NamedTuple):
    """A mean over seeds with its 95 % Student interval; nan at both ends for a single seed."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def mean(values: Sequence[float]) -> Mean:
    found = np.asarray(values, float)
    centre = float(found.mean())
    if len(found) < 2:
        return Mean(centre, float("nan"), float("nan"))
    half = float(t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return Mean(centre, centre - half, centre + half)
