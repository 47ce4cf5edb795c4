"""The semantic diversity loss of Ben-Cohen et al. (ICCV 2021, sec. 3.2-3.3): rank each image's labels above the others,
more urgently the more different they are in meaning, and keep the matrix's rows from drifting apart."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.semantic_matrix import Pooling, label_scores

BLOCK = 2**16  # pairs laid out at a time


class SemanticDiversityLoss(nn.Module):
    """For image i with labels P and negatives N, scores s, matrix A (M, D):

        R = 1/|P| sum over p, n of log(1 + exp(s_n - s_p))
        w = 1 + sum over d of the variance of the labels' vectors               (``diversity_weight``; 1 for a single label)
        V = sum over d of the variance of A's rows                              (0 for M = 1)
        loss = 2 ((1 - r) w R + r V)     or w R if the ``regularisation`` r is None

    Variances are unbiased; w has no gradient. An image without a negative label is ranked against a score of 0. One without
    a label has no loss: it is left out of the mean, and ``skipped`` counts those of the last call.

    ``unknown`` says what a target of -1 means: ``ignore`` it, or take it as ``negative``, as the published code does.
    """

    def __init__(
        self,
        regularisation: float | None = 0.3,
        diversity_weight: bool = True,
        pooling: Pooling = "max",
        unknown: Literal["ignore", "negative"] = "ignore",
        reduction: Literal["mean", "sum", "none"] = "mean",
    ):
        super().__init__()
        if regularisation is not None and not 0 <= regularisation <= 1:
            raise ValueError(f"regularisation is {regularisation}; it is a share in [0, 1], or None")
        self.regularisation, self.diversity_weight, self.pooling = regularisation, diversity_weight, pooling
        self.unknown, self.reduction = unknown, reduction
        self.skipped = 0

    def forward(self, matrix: Tensor, targets: Tensor, label_vectors: Tensor) -> Tensor:
        """``matrix`` (B, M, D), ``targets`` (B, N) of 1, 0 and -1, ``label_vectors`` (N, D). A scalar; (B,) for ``none``,
        with 0 where there is no label. Computed in float32 (float64 if the matrix is), under autocast too."""
        if targets.shape != (len(matrix), len(label_vectors)) or matrix.shape[2:] != label_vectors.shape[1:]:
            shapes = (
                f"matrix {tuple(matrix.shape)}, targets {tuple(targets.shape)}, vectors {tuple(label_vectors.shape)}"
            )
            raise ValueError(f"{shapes}; expected (B, M, D), (B, N), (N, D)")
        with torch.autocast(matrix.device.type, enabled=False):
            matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
            label_vectors = label_vectors.detach().to(matrix)
            positive = targets > 0
            negative = targets == 0 if self.unknown == "ignore" else targets <= 0
            losses = pairwise_ranking(label_scores(matrix, label_vectors, self.pooling).scores, positive, negative)
            if self.diversity_weight:
                losses = losses * (1 + semantic_diversity(positive, label_vectors))
            if self.regularisation is not None:
                losses = 2 * ((1 - self.regularisation) * losses + self.regularisation * row_spread(matrix))
        labelled = positive.any(1)
        losses = torch.where(labelled, losses, 0)
        kept = int(labelled.sum())
        self.skipped = len(matrix) - kept
        if self.reduction == "none":
            return losses
        return losses.sum() / max(kept, 1) if self.reduction == "mean" else losses.sum()


class _PairwiseRanking(torch.autograd.Function):
    """Value and gradient in one pass over the pairs, in blocks that stay in the processor's cache: nothing of the pairs'
    number is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        ranked, gradient = scores.new_zeros(len(scores)), torch.zeros_like(scores)
        for pairs in positive.nonzero().split(max(1, BLOCK // scores.shape[1])):
            image, label = pairs.unbind(1)
            margins = scores[image].sub_(scores[image, label, None])  # s_n - s_p, a row a label
            margins.masked_fill_(~negative[image], -torch.inf)
            ranked.index_add_(0, image, _softplus(margins).sum(1))
            slopes = margins.sigmoid_()
            gradient.index_add_(0, image, slopes)
            gradient[image, label] = -slopes.sum(1)  # never a negative too: nothing was added there
        count = positive.sum(1).clamp(min=1)
        ctx.save_for_backward(gradient.div_(count[:, None]))
        return ranked / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[:, None] * gradient, None, None


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), exact to rounding at any x, -inf included. log(1 + y) comes from log by Kahan's correction,
    log(u) y / (u - 1) for u = 1 + y as rounded: torch's own log1p is not vectorised and ten times slower."""
    y = x.abs().neg_().exp_()
    u = 1 + y
    tail = torch.where(u == 1, y, u.log() * y / (u - 1))
    return tail.add_(x.clamp(min=0))


def pairwise_ranking(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """(B,): each image's sum of log(1 + exp(s_n - s_p)) over its pairs, divided by its number of labels alone.

    ``scores`` (B, N); ``positive`` and ``negative`` (B, N) boolean. The pairs are laid out a block at a time. A
    image without a negative is ranked against a score of 0.
    """
    nothing = ~negative.any(1, keepdim=True)
    zero = scores.new_zeros(len(scores), 1)
    return _PairwiseRanking.apply(
        torch.cat([scores, zero], 1), F.pad(positive, (0, 1)), torch.cat([negative, nothing], 1)
    )


@torch.no_grad()
def semantic_diversity(positive: Tensor, label_vectors: Tensor) -> Tensor:
    """(B,): the summed variance of each image's label vectors; for unit vectors the mean of 1 - cosine over their pairs.

    ``positive`` (B, N) boolean, ``label_vectors`` (N, D). 0 for fewer than two labels.
    """
    vectors = label_vectors - label_vectors.mean(0)  # the variance is the same, its rounding smaller
    chosen, count = positive.to(vectors.dtype), positive.sum(1)
    mean = chosen @ vectors / count.clamp(min=1)[:, None]
    spread = chosen @ vectors.square().sum(1) - count * mean.square().sum(1)
    return torch.where(count > 1, spread.clamp(min=0) / (count - 1).clamp(min=1), 0)


def row_spread(matrix: Tensor) -> Tensor:
    """(B,): the summed variance of the rows of matrices (B, M, D); 0 for a single row."""
    if matrix.shape[1] == 1:
        return matrix.new_zeros(len(matrix))
    return (matrix - matrix.mean(1, keepdim=True)).square().sum((1, 2)) / (matrix.shape[1] - 1)
