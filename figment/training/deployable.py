"""A trained classifier of any recipe as whoever uses it sees it: pictures in, probabilities of its classes out."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from figment.errors import InputError
from figment.images import Resize
from figment.training.saved import Deployable, load_classifier
from figment.training.saved_dual_prompt import WEIGHTS, DeployableDualPrompts, load_dual_prompts
from figment.training.saved_few_shot import DeployableHead, load_head, load_own_backbone


@dataclass(frozen=True)
class TrainedClassifier:
    """``network`` takes pictures (N, 3, S, S) float in [0, 1] and gives (N, C); ``exclusive``: a picture is of one class."""

    network: nn.Module
    labels: tuple[str, ...]
    image_size: int
    resize: Resize
    exclusive: bool
    native_size: int | None = None  # as ``to_tensor`` has it


def is_classifier(folder: Path) -> bool:
    """Whether ``folder`` says that it holds a classifier, of whatever recipe."""
    return any((folder / card).is_file() for card in ("classifier.json", "head.json"))


def open_classifier(folder: Path) -> TrainedClassifier:
    """In eval mode on the CPU. Raises InputError if ``folder`` holds none, or not the whole of it."""
    if (folder / "head.json").is_file():
        head, few_shot = load_head(folder)
        network = DeployableHead(load_own_backbone(few_shot, folder, "cpu"), head)
        return TrainedClassifier(network.eval(), few_shot.labels, few_shot.backbone.image_size, "squash", True)
    if (folder / WEIGHTS).is_file():
        model, dual = load_dual_prompts(folder)
        return TrainedClassifier(
            DeployableDualPrompts(model).eval(), dual.labels.names, dual.image_size, "squash", False
        )
    if not (folder / "classifier.json").is_file():
        raise InputError(f"{folder}: holds no trained classifier (no classifier.json or head.json); give such a folder")
    plain, card = load_classifier(folder)
    training = card.training
    size, resize, native_size = training.image_size, training.resize, training.native_size
    return TrainedClassifier(Deployable(plain).eval(), card.labels.names, size, resize, True, native_size)
