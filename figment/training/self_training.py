"""What unlabelled images teach: batch statistics, CLIP's class vectors by EM, and pseudo-labels for a student (after
LaFTer, Mirza et al. 2023, and AdaBN, Li et al. 2016)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from figment.datasets.labelled import Images
from figment.training.augment import normalise

TOGETHER = 512  # images whose statistics are taken at a time
EM_STEPS = 10


@torch.no_grad()
def adapt_batch_norm(model: nn.Module, images: Images, source: int) -> int:
    """Move the running statistics of every batch norm towards those of ``images``: a target + (1 - a) source with a = n /
    (n + ``source``) for n images. Returns how many layers moved: 0 for a network without batch norms, which stays as it is."""
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers or not len(images):
        return 0
    before = [([value.clone() for value in statistics(layer)], layer.momentum) for layer in layers]
    device = next(model.parameters()).device
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    for _, part in images.parts():
        for pixels in part.pixels.split(TOGETHER):
            model(normalise(pixels.to(device)).contiguous(memory_format=torch.channels_last))
    share = len(images) / (len(images) + source)
    for layer, (values, momentum) in zip(layers, before, strict=True):
        for target, value in zip(statistics(layer), values, strict=True):
            target.mul_(share).add_((1 - share) * value)
        layer.momentum = momentum
    model.eval()
    return len(layers)


def statistics(layer: _BatchNorm) -> list[Tensor]:
    """The running mean and variance."""
    return [value for value in (layer.running_mean, layer.running_var) if value is not None]


def teach(networks: Sequence[Tensor], clip: Tensor) -> Tensor:
    """Probabilities (N, C) from the logits of networks and of CLIP, (N, C) each: the networks' mean log-probability and CLIP's
    count alike."""
    mean = torch.stack([logits.log_softmax(1) for logits in networks]).mean(0)
    return (mean + clip.log_softmax(1)).softmax(1)


def most_confident(probabilities: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Rows (M,), sorted, and their predicted classes (M,): of every predicted class the ``share`` that is surest, rounded up. A
    threshold for all would starve the classes of which a teacher is never sure."""
    sure, predicted = probabilities.max(1)
    kept = []
    for label in predicted.unique().tolist():
        rows = (predicted == label).nonzero().flatten()
        best = sure[rows].argsort(descending=True, stable=True)
        kept.append(rows[best[: math.ceil(share * len(rows))]])
    rows = torch.cat(kept).sort().values
    return rows, predicted[rows]


def fit_class_vectors(features: Tensor, text: Tensor, scale: float, pull: float) -> Tensor:
    """EM: unit class vectors (C, D) that began as ``text`` (C, D), each step moved by ``pull`` from the text towards the mean
    of the unit image ``features`` (N, D), weighted by the class probabilities that the last vectors give them."""
    vectors = text
    for _ in range(EM_STEPS):
        responsible = (scale * features @ vectors.T).softmax(1)
        means = F.normalize(responsible.T @ features, dim=1)
        vectors = F.normalize((1 - pull) * text + pull * means, dim=1)
    return vectors
