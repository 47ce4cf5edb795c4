"""Classifiers on disk: safetensors, and a JSON that says how to rebuild and read them."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.model_folders import load_state, one_sentence, read_json, read_tensors
from figment.training.augment import normalise
from figment.training.classifier import build_classifier
from figment.training.config import TrainingConfig


class ClassifierCard(BaseModel):
    """What ``classifier.json`` holds. ``key`` names everything that decided the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    labels: LabelSpace
    training: TrainingConfig
    images: int


def save_classifier(model: nn.Module, card: ClassifierCard, folder: Path) -> Path:
    """Write the weights, then the card that vouches for them; returns the weights' path."""
    weights = folder / "classifier.safetensors"
    with atomic(weights) as partial:
        save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, partial)
    write_json(folder / "classifier.json", card.model_dump(mode="json"))
    return weights


def read_card(folder: Path) -> ClassifierCard | None:
    """The card of a finished classifier, None if there is none."""
    try:
        return ClassifierCard.model_validate(read_json(folder / "classifier.json", "classifier"))
    except ValueError:
        return None


def load_classifier(folder: Path) -> tuple[nn.Module, ClassifierCard]:
    """The model in eval mode on the CPU, and its card. Raises InputError if ``folder`` holds no such model."""
    what = f"{folder}: no trained classifier in classifier.json and classifier.safetensors"
    advice = "give the folder of a trained classifier, or train again"
    with one_sentence(what, advice):
        card = ClassifierCard.model_validate(read_json(folder / "classifier.json", what))
        model = build_classifier(card.training, len(card.labels))
        weights = folder / "classifier.safetensors"
        load_state(model, read_tensors(weights, what), what)
    return model.eval(), card


class Deployable(nn.Module):
    """A classifier that takes what users have: pictures (N, 3, S, S) float in [0, 1]; returns probabilities (N, C)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(normalise(pixels)).softmax(1)
