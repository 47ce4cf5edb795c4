"""CLIP features of whole sets, for the diversity ledger and the map."""

from torch import Tensor

from figment.clip.scorer import ClipScorer
from figment.datasets.labelled import Images, of_each


def clip_features(images: Images, scorer: ClipScorer) -> Tensor:
    """(N, D) unit vectors on the CPU, in the set's order, whether or not memory holds the images. They should be of
    ``scorer.size`` px, resized bicubically, as CLIP saw its own."""
    return of_each(images, lambda pixels: scorer.image_features(pixels).float().cpu())
