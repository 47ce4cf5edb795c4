"""How varied a synthetic set is, and how much of the real images' variety it reaches, in the space of CLIP features.

All take unit feature vectors. Vendi score: Friedman and Dieng 2023. Precision and recall: Kynkaanniemi et al. 2019.
Density and coverage: Naeem et al. 2020. Frechet distance: Heusel et al. 2017, here of CLIP features.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from figment.errors import InputError


def vendi_score(features: Tensor) -> float:
    """The effective number of different images among ``features`` (N, D): exp of the entropy of the eigenvalues of the
    cosine kernel over N. N identical images: 1; N at right angles to each other: N."""
    x = features.double()
    gram = x @ x.t() if len(x) <= x.shape[1] else x.t() @ x  # the same non-zero eigenvalues
    eigenvalues = torch.linalg.eigvalsh(gram / len(x)).clamp(min=0)
    return float(torch.special.entr(eigenvalues).sum().exp())


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean of 1 - cosine over all pairs of different rows of ``features`` (N, D); nan for a single row."""
    n = len(features)
    total = features.double().sum(0).square().sum()  # N + the cosines of all ordered pairs
    return float(1 - (total - n) / (n * (n - 1))) if n > 1 else float("nan")


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Frechet distance between normal distributions fitted to two sets of features (N, D) and (M, D):
    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)."""
    a, b = first.double(), second.double()
    root = _root(torch.cov(a.t()))
    between = torch.linalg.eigvalsh(root @ torch.cov(b.t()) @ root).clamp(min=0).sqrt().sum()
    spread = a.var(0).sum() + b.var(0).sum() - 2 * between
    return max(0.0, float((a.mean(0) - b.mean(0)).square().sum() + spread))


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.t()


def nearest_radius(features: Tensor, k: int) -> Tensor:
    """(N,) distance of every row to its k-th nearest other row: the radius of its ball."""
    if len(features) <= k:
        raise InputError(f"diversity: {len(features)} images have no {k}-th nearest neighbour; give {k + 1} or more")
    return torch.cdist(features.double(), features.double()).kthvalue(k + 1, dim=1).values  # the first is itself


class Reach(BaseModel):
    """How two sets of features lie to each other, each in [0, 1] but density, which may be more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: float  # synthetic images within some real image's ball
    recall: float  # real images within some synthetic image's ball
    density: float  # real balls that a synthetic image lies in, over k
    coverage: float  # real images whose ball holds a synthetic one


def reach(real: Tensor, synthetic: Tensor, k: int = 5) -> Reach:
    """Of features (N, D) and (M, D), with balls up to the k-th nearest neighbour within each set."""
    distance = torch.cdist(real.double(), synthetic.double())
    within_real = distance <= nearest_radius(real, k)[:, None]
    within_synthetic = distance <= nearest_radius(synthetic, k)[None, :]
    return Reach(
        precision=float(within_real.any(0).double().mean()),
        recall=float(within_synthetic.any(1).double().mean()),
        density=float(within_real.double().sum(0).mean() / k),
        coverage=float(within_real.any(1).double().mean()),
    )


class ClassDiversity(BaseModel):
    """One class's line of the ledger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    vendi: float
    distance: float  # mean pairwise
    reach: Reach


class Ledger(BaseModel):
    """A set's diversity, per class and in the mean over classes, beside its Frechet distance to the real images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[ClassDiversity, ...]
    vendi: float
    distance: float
    reach: Reach
    frechet: float


class Labelled(NamedTuple):
    """Images by their ``features`` (N, D) and ``labels`` (N,)."""

    features: Tensor
    labels: Tensor


def diversity_ledger(
    synthetic: Labelled,
    real: Labelled,
    names: Sequence[str],
    per_class: int | None = None,
    k: int = 5,
    seed: int = 0,
) -> Ledger:
    """Of synthetic images against real shots, class by class.

    All these numbers grow with the number of images; ``per_class`` compares sets of different size at so many of each
    class, drawn from ``seed``. Raises InputError if a class has fewer, or not more than ``k``.
    """
    generator = torch.Generator().manual_seed(seed)
    lines, kept = [], []
    for label, name in enumerate(names):
        rows = (synthetic.labels == label).nonzero().flatten()
        shots = real.features[real.labels == label]
        if per_class is not None:
            if len(rows) < per_class:
                raise InputError(f"diversity: {len(rows)} images of {name}; per_class asks for {per_class}")
            rows = rows[torch.randperm(len(rows), generator=generator)[:per_class]]
        for what, count in (("synthetic", len(rows)), ("real", len(shots))):
            if count <= k:
                raise InputError(f"diversity: {count} {what} images of {name}; {k} nearest neighbours need {k + 1}")
        mine = synthetic.features[rows]
        kept.append(rows)
        lines.append(
            ClassDiversity(
                name=name,
                images=len(rows),
                vendi=vendi_score(mine),
                distance=mean_pairwise_distance(mine),
                reach=reach(shots, mine, k),
            )
        )
    return Ledger(
        classes=tuple(lines),
        vendi=_mean([line.vendi for line in lines]),
        distance=_mean([line.distance for line in lines]),
        reach=Reach(**{field: _mean([getattr(line.reach, field) for line in lines]) for field in Reach.model_fields}),
        frechet=frechet_distance(synthetic.features[torch.cat(kept)], real.features),
    )


def compare_sets(
    sets: Mapping[str, Labelled],
    real: Labelled,
    names: Sequence[str],
    most: int = 1000,
    k: int = 5,
) -> dict[str, Ledger]:
    """The ledger of each set, all at the same number of images of every class: that of the smallest,
    at most ``most``. Empty if that, or the number of real shots of a class, does not exceed ``k``."""
    fewest = min(int(torch.bincount(labels, minlength=len(names)).min()) for _, labels in sets.values())
    if min(fewest, int(torch.bincount(real.labels, minlength=len(names)).min())) <= k:
        return {}
    per_class = min(fewest, most)
    return {name: diversity_ledger(images, real, names, per_class, k) for name, images in sets.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
