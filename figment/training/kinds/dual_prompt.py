"""``dual_prompt``: prompts and feature fusion trained on a frozen CLIP, which is not saved with them; many classes an image."""

from collections.abc import Mapping

from torch import Tensor, nn

from figment.clip.scorer import ClipConfig, clip_digest
from figment.errors import InputError
from figment.training.dual_prompt import DualPromptConfig, Prepare, build_dual_prompts, learned_weights
from figment.training.saved import Kind, Preprocessing, SavedModel
from figment.types import Settings
from models.dual_prompt import DualPromptClassifier, aggregate_regions, presence, region_features


class DualPromptSettings(Settings):
    """``clip_digest``: of the CLIP's files as they were in training."""

    clip: ClipConfig
    clip_digest: str
    training: DualPromptConfig


def dual_prompt_preprocessing(model: DualPromptClassifier, image_size: int) -> Preprocessing:
    """``image_size``: of the images it was trained on; the network brings them to the CLIP's own."""
    prepare = Prepare(model.clip)
    return Preprocessing.with_statistics(image_size, "squash", prepare.mean, prepare.std)


def _build(saved: SavedModel, settings: DualPromptSettings, _: Mapping[str, Tensor]) -> nn.Module:
    if clip_digest(settings.clip) != settings.clip_digest:
        raise InputError(f"it was trained on another {settings.clip.model}; restore that CLIP")
    training = settings.training.model_copy(update={"device": "cpu"})
    return build_dual_prompts(training, settings.clip, saved.labels)


class Presence(nn.Module):
    """The classifier with its prompts encoded: images (N, 3, S, S) float in [0, 1] in, probabilities (N, C) out."""

    texts: Tensor

    def __init__(self, model: DualPromptClassifier, _: SavedModel):
        super().__init__()
        self.prepare, self.visual = Prepare(model.clip), model.clip.visual
        self.register_buffer("texts", model.texts().detach())

    def forward(self, pixels: Tensor) -> Tensor:
        return presence(aggregate_regions(region_features(self.visual, self.prepare(pixels)), self.texts))


DUAL_PROMPT = Kind(
    "dual_prompt", DualPromptSettings, _build, Presence, lambda model, _: learned_weights(model), exclusive=False
)
