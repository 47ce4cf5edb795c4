"""``semantic_matrix``: a matrix of embeddings that ranks labels by their vectors, the unseen and new ones too."""

from collections.abc import Mapping

from torch import Tensor, nn

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors
from figment.training.config import SemanticConfig
from figment.training.saved import Kind, Preprocessing, SavedModel
from figment.training.semantic import build_semantic_matrix
from figment.types import Settings
from models.semantic_matrix import Pooling, SemanticMatrix, label_scores


class SemanticSettings(Settings):
    """``vectors``: where the label vectors came from, and where those of more labels can come from."""

    vectors: LabelVectorConfig
    training: SemanticConfig


class LabelledMatrix(nn.Module):
    """A matrix with the vectors of its labels: images (N, 3, S, S) float in [0, 1] in, scores (N, C) out."""

    vectors: Tensor

    def __init__(self, matrix: SemanticMatrix, vectors: Tensor, pooling: Pooling):
        super().__init__()
        self.matrix, self.pooling = matrix, pooling
        self.register_buffer("vectors", vectors)

    def forward(self, pixels: Tensor) -> Tensor:
        return label_scores(self.matrix(pixels), self.vectors, self.pooling).scores

    def label_vectors(self, names: tuple[str, ...]) -> LabelVectors:
        return LabelVectors(names, self.vectors)


def semantic_preprocessing(matrix: SemanticMatrix, image_size: int) -> Preprocessing:
    return Preprocessing.with_statistics(image_size, "squash", matrix.mean, matrix.std)


def _build(saved: SavedModel, settings: SemanticSettings, tensors: Mapping[str, Tensor]) -> nn.Module:
    if "vectors" not in tensors:
        raise ValueError("the weights hold no label vectors")
    vectors = tensors["vectors"]
    if vectors.ndim != 2 or len(vectors) != len(saved.labels):
        raise ValueError(f"label vectors of shape {tuple(vectors.shape)} for {len(saved.labels)} labels")
    matrix = build_semantic_matrix(settings.training.model_copy(update={"pretrained": False}), vectors.shape[1])
    return LabelledMatrix(matrix, vectors, settings.training.pooling)


SEMANTIC_MATRIX = Kind(
    "semantic_matrix",
    SemanticSettings,
    _build,
    lambda network, _: network,
    exclusive=False,
    probabilities=False,
)
