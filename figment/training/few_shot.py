"""Few-shot classifiers: linear heads on a frozen backbone's features of a few photos and of what was made from them, or all
of the network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from figment.loop import Log
from figment.planning.methods import Method
from figment.planning.sample_weights import Use, use_of
from figment.training.acceptance import FILTER_VIEWS
from figment.training.head import FeatureSet, HeadTraining, TrainedHead, logits_of, train_head
from figment.training.sampling import places_in_class, sampling_law

FOLDS = 5  # of a cross-validation


@dataclass(frozen=True)
class Made:
    """Images made from shots: ``features`` (S, 1 + V, D), ``sources`` (S,) the shots' numbers, ``weights`` (S,)."""

    features: Tensor
    sources: Tensor
    weights: Tensor


def learn(
    method: Method,
    shots: FeatureSet,
    made: Made | None,
    training: HeadTraining,
    log: Log = lambda step, metrics: None,
) -> tuple[TrainedHead, Use]:
    """The head that a method trains, and how often it used each made image. Features hold each image as it is, then in
    random views; a method that augments learns from the latter."""
    features, labels = shots.features, shots.labels
    sources = torch.zeros(0, dtype=torch.long) if made is None else made.sources
    weights = torch.zeros(0) if made is None else made.weights
    if made is not None:
        features, labels = torch.cat([features, made.features]), torch.cat([labels, labels[sources]])
    law, use = law_of(method, shots.labels, sources, weights)
    seen = features[:, 1:] if method.augment else features[:, :1]
    return train_head(FeatureSet(seen, labels), law, training, log), use


def cross_validate(method: Method, shots: FeatureSet, made: Made | None, training: HeadTraining) -> Tensor:
    """(N, C) logits of each of the N shots, from a head that learned from neither it nor images made from it. A class's shots are
    spread evenly over at most ``FOLDS`` folds."""
    place = places_in_class(shots.labels)
    folds = min(FOLDS, int(place.max()) + 1)
    logits = torch.zeros(len(shots), training.classes)
    for fold in range(folds):
        out = place % folds == fold
        rows = (~out).nonzero().flatten()
        number = torch.full((len(shots),), -1)
        number[rows] = torch.arange(len(rows))
        part = None
        if made is not None:
            kept = number[made.sources] >= 0
            part = Made(made.features[kept], number[made.sources[kept]], made.weights[kept])
        found, _ = learn(method, shots.subset(rows), part, training)
        logits[out] = logits_of(found.head, shots.features[out, 0])
    return logits


def law_of(method: Method, labels: Tensor, sources: Tensor, weights: Tensor) -> tuple[Tensor, Use]:
    """(N + S,) how likely a method learns from each photo, of ``labels`` (N,), and each image made of the photo ``sources``
    (S,); and how often it uses the latter."""
    use = use_of(weights, sources, len(labels), method.alpha, method.weights, method.reject_below)
    return sampling_law(labels, sources, use), use


def filter_views(features: FeatureSet) -> FeatureSet:
    """The random views by which the filter learns and judges."""
    return FeatureSet(features.features[:, 1 : 1 + FILTER_VIEWS], features.labels)
