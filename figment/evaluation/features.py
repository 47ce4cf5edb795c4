"""CLIP features of whole sets, for the diversity ledger and the map."""

import torch
from torch import Tensor

from figment.clip.scorer import ClipScorer
from figment.datasets.labelled import Images


def clip_features(images: Images, scorer: ClipScorer) -> Tensor:
    """(N, D) unit vectors on the CPU, in the set's order, whether or not memory holds the images. They should be of
    ``scorer.size`` px, resized bicubically, as CLIP saw its own."""
    found = [(rows, scorer.image_features(part.pixels).float().cpu()) for rows, part in images.parts()]
    order = torch.cat([rows for rows, _ in found]).argsort()
    return torch.cat([features for _, features in found])[order]
