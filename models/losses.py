"""The recipes' losses."""

from models.semantic_diversity_loss import SemanticDiversityLoss

__all__ = ["SemanticDiversityLoss"]
