"""Semantic matrices on disk: safetensors, and a JSON that says how to rebuild them and what their labels are."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors
from figment.files import atomic, write_json
from figment.model_folders import load_state, one_sentence, read_json, read_tensors
from figment.training.config import SemanticConfig
from figment.training.semantic import build_semantic_matrix
from models.semantic_matrix import Pooling, SemanticMatrix, label_scores

VECTORS = "label_vectors"


class SemanticCard(BaseModel):
    """What ``semantic.json`` holds. ``key`` names everything that decided the weights; ``vectors`` is where the label
    vectors came from, and where those of more labels can come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    labels: tuple[str, ...]
    unseen: tuple[str, ...]
    dim: int
    vectors: LabelVectorConfig
    training: SemanticConfig


def save_semantic(model: SemanticMatrix, labels: LabelVectors, card: SemanticCard, folder: Path) -> Path:
    """Write the weights with the label vectors, then the card that vouches for them; returns the weights' path."""
    weights = folder / "semantic.safetensors"
    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic(weights) as partial:
        save_file(tensors | {VECTORS: labels.vectors.cpu().contiguous()}, partial)
    write_json(folder / "semantic.json", card.model_dump(mode="json"))
    return weights


def load_semantic(folder: Path) -> tuple[SemanticMatrix, LabelVectors, SemanticCard]:
    """The model in eval mode on the CPU, its labels and its card. Raises InputError if ``folder`` holds no such model."""
    what = f"{folder}: no trained semantic matrix in semantic.json and semantic.safetensors"
    advice = "give the folder of a trained model, or train again"
    with one_sentence(what, advice):
        card = SemanticCard.model_validate(read_json(folder / "semantic.json", what))
        tensors = read_tensors(folder / "semantic.safetensors", what)
        labels = LabelVectors(card.labels, tensors.pop(VECTORS))
        if labels.vectors.shape != (len(card.labels), card.dim):
            raise ValueError(f"label vectors of shape {tuple(labels.vectors.shape)}")
        model = build_semantic_matrix(card.training.model_copy(update={"pretrained": False}), card.dim)
        load_state(model, tensors, what)
    return model.eval(), labels, card


class DeployableMatrix(nn.Module):
    """A semantic matrix with its labels: pictures (N, 3, S, S) float in [0, 1] in, scores (N, C) out."""

    vectors: Tensor

    def __init__(self, model: SemanticMatrix, labels: LabelVectors, pooling: Pooling):
        super().__init__()
        self.model, self.pooling = model, pooling
        self.register_buffer("vectors", labels.vectors)

    def forward(self, pixels: Tensor) -> Tensor:
        return label_scores(self.model(pixels), self.vectors, self.pooling).scores
