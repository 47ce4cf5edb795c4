"""Dual-prompt classifiers on disk: what was learnt in safetensors, and a JSON that names the CLIP it belongs to."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors.torch import save_file
from torch import Tensor, nn

from figment.clip.scorer import ClipConfig, clip_digest
from figment.errors import InputError
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.model_folders import one_sentence, read_json, read_tensors
from figment.training.dual_prompt import DualPromptConfig, Prepare, build_dual_prompts, learnt_weights
from models.dual_prompt import DualPromptClassifier, aggregate_regions, presence, region_features

WEIGHTS, CARD = "prompts.safetensors", "classifier.json"


class DualPromptCard(BaseModel):
    """What ``classifier.json`` holds. ``key`` names everything that decided the weights, ``clip_digest`` the CLIP's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    labels: LabelSpace
    clip: ClipConfig
    clip_digest: str
    image_size: int  # of the pictures it learnt from
    training: DualPromptConfig


def save_dual_prompts(model: DualPromptClassifier, card: DualPromptCard, folder: Path) -> Path:
    """Write the learnt weights, then the card that vouches for them; returns the weights' path."""
    with atomic(folder / WEIGHTS) as partial:
        save_file(learnt_weights(model), partial)
    write_json(folder / CARD, card.model_dump(mode="json"))
    return folder / WEIGHTS


def load_dual_prompts(folder: Path, device: str = "cpu") -> tuple[DualPromptClassifier, DualPromptCard]:
    """The classifier in eval mode. Raises InputError if ``folder`` holds none whole, or if its CLIP is another one."""
    what = f"{folder}: no trained dual prompts in {CARD} and {WEIGHTS}"
    advice = "give the folder of a trained classifier, or train again"
    with one_sentence(what, advice):
        card = DualPromptCard.model_validate(read_json(folder / CARD, what))
        weights = read_tensors(folder / WEIGHTS, what)
    if clip_digest(card.clip) != card.clip_digest:
        raise InputError(
            f"{folder}: the prompts were learnt on another {card.clip.model}; bring that one back or train anew"
        )
    model = build_dual_prompts(card.training.model_copy(update={"device": device}), card.clip, card.labels)
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in learnt_weights(model).items()}:
        raise InputError(f"{folder}: {WEIGHTS} does not hold the weights that {CARD} speaks of; train anew")
    model.load_state_dict(weights, strict=False)
    return model.eval(), card


class DeployableDualPrompts(nn.Module):
    """The classifier with its prompts read: pictures (N, 3, S, S) float in [0, 1] in, probabilities (N, C) out."""

    texts: Tensor

    def __init__(self, model: DualPromptClassifier):
        super().__init__()
        self.prepare, self.visual = Prepare(model.clip), model.clip.visual
        self.register_buffer("texts", model.texts().detach())

    def forward(self, pixels: Tensor) -> Tensor:
        return presence(aggregate_regions(region_features(self.visual, self.prepare(pixels)), self.texts))
