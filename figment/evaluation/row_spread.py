"""Whether a semantic matrix gives images with diverse labels diverse rows."""

from typing import NamedTuple

import torch
from scipy.stats import spearmanr
from torch import Tensor

from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import TaggedImages
from models.semantic_diversity_loss import semantic_diversity
from models.semantic_matrix import SemanticMatrix


class SpreadCorrelation(NamedTuple):
    """Spearman's rank correlation of an image's row spread with its tags' diversity, over all images and over those with
    ``tags`` two or more; NaN where either never varies."""

    all: float
    with_two_or_more: float


@torch.inference_mode()
def spread_correlation(
    model: SemanticMatrix, images: TaggedImages, vectors: LabelVectors, batch_size: int = 256
) -> SpreadCorrelation:
    """Whether diverse images get diverse rows, the paper's claim (sec. 3.1).

    Row spread is the mean of 1 - cosine over the pairs of rows: the rows' lengths, which the loss sets, do not count.
    The number of tags is a confounder over all images (one tag has diversity 0), less so over those with several.
    """
    model.eval()
    device = model.embedding.weight.device
    spread = torch.cat(
        [direction_spread(model(part.to(device).float() / 255)).cpu() for part in images.pixels.split(batch_size)]
    )
    shown = images.targets > 0
    diversity = semantic_diversity(shown, vectors.vectors)
    several = shown.sum(1) > 1
    return SpreadCorrelation(_spearman(spread, diversity), _spearman(spread[several], diversity[several]))


def direction_spread(matrix: Tensor) -> Tensor:
    """(B,): the mean of 1 - cosine over the pairs of rows of matrices (B, M, D); 0 for a single row."""
    rows = matrix.shape[1]
    if rows == 1:
        return matrix.new_zeros(len(matrix))
    directions = torch.nn.functional.normalize(matrix, dim=2)
    return (rows**2 - directions.sum(1).square().sum(1)) / (rows * (rows - 1))


def _spearman(first: Tensor, second: Tensor) -> float:
    if len(first) < 3 or first.unique().numel() < 2 or second.unique().numel() < 2:
        return float("nan")
    return float(spearmanr(first.numpy(), second.numpy()).statistic)
