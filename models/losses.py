"""The recipes' losses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.semantic_diversity_loss import SemanticDiversityLoss

__all__ = ["AsymmetricLoss", "SemanticDiversityLoss"]


class AsymmetricLoss(nn.Module):
    """Multi-label loss that soon stops minding easy negatives (Zhang et al. 2024, after Ridnik et al. 2021).

    L = - sum [ y (1 - p)^gamma_pos log p + (1 - y) (1 - q)^gamma_neg log q ],  q = min(1 - p + clip, 1),

    with the factors (1 - .)^gamma constant in the backward pass, summed over all entries; those with y = -1 are unknown
    and left out. The defaults are those for tuning the text encoder; the classifier takes gamma_neg 2, gamma_pos 1.
    """

    def __init__(
        self,
        gamma_neg: float = 4,
        gamma_pos: float = 0,
        clip: float = 0.05,
        eps: float = 1e-8,
        eps_of_logits: float = 0.0,
    ):
        """``eps``: the least probability whose logarithm is taken; ``eps_of_logits``: the same where the scores are logits."""
        super().__init__()
        self.gamma_neg, self.gamma_pos, self.clip, self.eps = gamma_neg, gamma_pos, clip, eps
        self.eps_of_logits = eps_of_logits

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """A scalar from ``targets`` (B, C) in {1, 0, -1} and ``scores``: probabilities (B, C), or logits (B, 2, C) whose
        first row speaks for absence and second for presence. Computed in float32 or better.

        Logits are the stabler form: log p keeps its gradient however small p is, where from probabilities it ends at ``eps``.
        """
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if scores.dim() == 3:
            margin = scores[:, 1] - scores[:, 0]
            probability = margin.sigmoid()
            floor = self.eps_of_logits
            log_probability = probability.clamp(min=floor).log() if floor else F.logsigmoid(margin)
        else:
            probability = scores
            log_probability = scores.clamp(min=self.eps).log()
        shifted = (1 - probability + self.clip).clamp(max=1)
        log_shifted = shifted.clamp(min=self.eps).log()
        positive = (1 - probability.detach()).clamp(min=0) ** self.gamma_pos * log_probability
        negative = (1 - shifted.detach()) ** self.gamma_neg * log_shifted
        return -(torch.where(targets > 0, positive, negative) * (targets >= 0)).sum()
