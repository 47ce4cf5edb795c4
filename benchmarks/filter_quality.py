"""What a filter is worth where the truth can be known: how pure is what it lets pass, and how much of the good it keeps."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from figment.metrics.calibration import proportion_interval


class Share(BaseModel):
    """``value`` of ``trials``, with its 95 % interval (Clopper-Pearson)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    trials: int

    @classmethod
    def of(cls, successes: np.ndarray) -> "Share":
        """Of (N,) bool; nothing is known of none."""
        low, high = proportion_interval(np.asarray(successes.sum()), len(successes), 0.95)
        value = float(successes.mean()) if len(successes) else float("nan")
        return cls(value=value, low=float(low), high=float(high), trials=len(successes))


class FilterQuality(BaseModel):
    """``unfiltered``: the share of all images that show what they should; ``accepted``, ``rejected``: of those that passed
    and of those that did not; ``recall``: the share of the right ones that passed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unfiltered: Share
    accepted: Share
    rejected: Share
    recall: Share


def filter_quality(passed: Sequence[bool] | np.ndarray, right: Sequence[bool] | np.ndarray) -> FilterQuality:
    """From whether each image (N,) passed and whether it really shows what it should."""
    p, r = np.asarray(passed, dtype=bool), np.asarray(right, dtype=bool)
    return FilterQuality(
        unfiltered=Share.of(r), accepted=Share.of(r[p]), rejected=Share.of(r[~p]), recall=Share.of(p[r])
    )
