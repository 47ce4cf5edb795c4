"""Points among the CLIP embeddings of a class's real images, spread little or much (sec. 4.2.2 of "Diversity is
Definitely Needed").

Weights are Dirichlet(1): uniform on the simplex, which the paper leaves open. For n unit vectors of mean pairwise cosine rho
the squared length of a point, and its squared distance from the vectors' mean, are known in expectation:

    hull     2/(n+1) + rho (1 - 2/(n+1))     (1 - rho) (n - 1) / (n (n + 1))
    triples  1/2 + rho/2                     (1 - rho) (1/2 - 1/n)

so that at n = 60 triples spread 30 times as much (in variance): the hull's points gather at its centre.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from figment.errors import InputError

Sampler = Callable[[int, int, torch.Generator], Tensor]


def hull(n: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, n) weights, all of them positive, rows summing to 1: points within the hull of all n."""
    return _simplex(count, n, generator)


def triples(n: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, n) weights of which three, chosen again for every row, are positive; rows sum to 1. Raises InputError for
    fewer than three to choose from."""
    if n < 3:
        raise InputError(f"latent study: {n} images of a class; interpolating three needs three or more")
    members = torch.rand(count, n, generator=generator, dtype=torch.float64).argsort(1)[:, :3]
    return torch.zeros(count, n, dtype=torch.float64).scatter(1, members, _simplex(count, 3, generator))


SAMPLERS: dict[str, Sampler] = {"hull": hull, "triples": triples}


class Moments(NamedTuple):
    """Expected squared length of a point, and its expected squared distance from the mean of the vectors."""

    length: float
    variance: float


def moments(sampler: str, n: int, rho: float) -> Moments:
    """Of ``hull`` or ``triples`` over ``n`` unit vectors whose mean pairwise cosine is ``rho``."""
    squares = 2 / (n + 1) if sampler == "hull" else 1 / 2  # expected sum of squared weights
    return Moments(squares + rho * (1 - squares), (1 - rho) * (squares - 1 / n))


def mean_cosine(vectors: Tensor) -> float:
    """Mean over pairs of different rows of unit ``vectors`` (n, D)."""
    n = len(vectors)
    return float((vectors.double().sum(0).square().sum() - n) / (n * (n - 1)))


def _simplex(count: int, n: int, generator: torch.Generator) -> Tensor:
    """Dirichlet(1): exponential draws over their sum."""
    draws = -torch.log1p(-torch.rand(count, n, generator=generator, dtype=torch.float64))
    return draws / draws.sum(1, keepdim=True)
