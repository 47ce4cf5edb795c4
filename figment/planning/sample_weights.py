"""How much each synthetic image counts, from a classifier's probability of its label ("DIAGen", weighting mechanism)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from figment.errors import InputError
from figment.planning.methods import Weighting


def confidence_weight(probability: Any) -> Any:
    """w = min(1, 2 p): an image that the classifier rather calls its label than not counts in full. A number, or an array
    or tensor of any shape."""
    if isinstance(probability, Tensor):
        return (2 * probability).clamp(max=1)
    return np.minimum(1.0, 2.0 * np.asarray(probability, float))[()]


def normalise_per_source(weights: Any, source_ids: Any) -> Any:
    """(S,) each weight over the sum of those of the same source: q_nm = w_nm / sum_m' w_nm'. If all of a source are zero,
    which the published code divides by, they share evenly.

    ``source_ids`` (S,) are numbers or texts in any order. Arrays give an array, a tensor gives a tensor of its type, or
    float64 where that holds no fractions. Raises InputError for a weight that is negative or not finite.
    """
    values = weights.detach().cpu().double() if isinstance(weights, Tensor) else weights
    values = np.asarray(values, float)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise InputError(f"weights: entry {wrong.argmax()} is {values[wrong][0]}; each is a finite number of 0 or more")
    _, of = np.unique(np.asarray(source_ids), return_inverse=True)
    largest = np.zeros(of.max(initial=-1) + 1)
    np.maximum.at(largest, of, values)
    # Over the largest first, so that the sums of tiny weights do not vanish.
    scaled = np.divide(values, largest[of], out=np.ones_like(values), where=largest[of] > 0)
    shares = scaled / np.bincount(of, scaled, len(largest))[of]
    if not isinstance(weights, Tensor):
        return shares
    return torch.as_tensor(shares).to(weights.device, weights.dtype if weights.is_floating_point() else torch.float64)


class Use(NamedTuple):
    """``alpha`` (N,) how often a photo is replaced by one of its synthetic images, ``share`` (S,) by which: those of a
    photo sum to one, unless it has none that may be used (and ``alpha`` 0)."""

    alpha: Tensor
    share: Tensor


def use_of(
    weights: Tensor, sources: Tensor, photos: int, alpha: float, policy: Weighting, reject_below: float = 0.5
) -> Use:
    """How often each synthetic image stands in for its photo. ``sources`` (S,) are the photos' numbers below ``photos``.

    ``equal``: all of a photo alike. ``per_photo``: in the ratio of their weights (the paper's); ten equally bad ones are
    used as often as ten good ones. ``global``: likewise, but a photo is replaced only ``alpha`` times the mean of its
    images' weights, so that a bad batch is used less. ``reject``: those of a weight below ``reject_below`` never, the
    others alike.
    """
    kept = weights >= reject_below if policy == "reject" else torch.ones_like(weights, dtype=torch.bool)
    counts = torch.bincount(sources[kept], minlength=photos)
    share = torch.zeros(len(weights), dtype=torch.float64)
    relative = weights if policy in ("per_photo", "global") else torch.ones_like(weights)
    if kept.any():
        share[kept] = normalise_per_source(relative[kept].double(), sources[kept].tolist())
    replaced = torch.where(counts > 0, torch.tensor(alpha, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    if policy == "global":
        sums = torch.zeros(photos, dtype=torch.float64).index_add_(0, sources, weights.double())
        replaced = replaced * sums / counts.clamp(min=1)
    return Use(replaced, share)


def effective_sizes(share: Tensor, sources: Tensor, photos: int) -> Tensor:
    """(N,) as how many equally used synthetic images a photo's count: 1 / sum of the squared shares (Kish); 0 for none."""
    squares = torch.zeros(photos, dtype=torch.float64).index_add_(0, sources, share.double() ** 2)
    return torch.where(squares > 0, 1 / squares.clamp(min=1e-300), torch.zeros_like(squares))


def mean_effective_size(use: Use, sources: Sequence[int] | Tensor) -> float:
    """The mean over photos of ``effective_sizes``; 0 without photos."""
    sizes = effective_sizes(use.share, torch.as_tensor(sources), len(use.alpha))
    return float(sizes.mean()) if len(sizes) else 0.0
