"""An image as a few vectors instead of one: the semantic matrix of Ben-Cohen et al. (ICCV 2021, sec. 3).

Any backbone is followed by one linear layer whose output is read as M principal vectors in the space of the labels' word
vectors. A label's score is its largest dot product with any of them, so a label is added by its vector alone.
"""

from typing import Literal, NamedTuple

import timm.data
import torch
from torch import Tensor, nn

Pooling = Literal["max", "mean"]


class LabelScores(NamedTuple):
    """``scores`` (B, N), and ``rows`` (B, N): which principal vector agrees most with each label."""

    scores: Tensor
    rows: Tensor


class SemanticMatrix(nn.Module):
    """``backbone`` takes (B, 3, H, W) and gives ``features`` numbers an image, as any timm model with ``num_classes=0``.

    Pixels come in [0, 1]; the backbone's own mean and deviation, as timm knows them, are taken out here (TResNet's, the
    paper's, are 0 and 1).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, features: int, rows: int, dim: int):
        super().__init__()
        self.backbone, self.rows, self.dim = backbone, rows, dim
        self.embedding = nn.Linear(features, dim * rows, bias=False)
        statistics = timm.data.resolve_data_config({}, model=backbone)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(statistics[name])[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] -> (B, M, D). The linear layer's output is dimension-major, as in the paper's
        checkpoints: element d * M + k is dimension d of principal vector k."""
        flat = self.embedding(self.backbone((pixels - self.mean) / self.std))
        return flat.unflatten(1, (self.dim, self.rows)).transpose(1, 2)


def label_scores(matrix: Tensor, label_vectors: Tensor, pooling: Pooling = "max") -> LabelScores:
    """Scores of labels (N, D) for matrices (B, M, D): the largest dot product over the M rows, the paper's choice, or their
    mean, which makes the matrix one vector again."""
    products = matrix @ label_vectors.t()
    largest, rows = products.max(1)
    return LabelScores(largest if pooling == "max" else products.mean(1), rows)
