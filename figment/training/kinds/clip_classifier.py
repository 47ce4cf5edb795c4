"""``clip``: class vectors on a frozen CLIP, which is not saved with them; with a ``student``, its log-probabilities are added. An
image is of one class."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.clip.scorer import ClipConfig, ClipScorer, clip_digest
from figment.errors import InputError
from figment.training.augment import normalise
from figment.training.backbone import Backbone
from figment.training.classifier import build_classifier
from figment.training.config import TrainingConfig
from figment.training.saved import Kind, Preprocessing, SavedModel
from figment.types import Settings


class ClipSettings(Settings):
    """``clip_digest``: of the CLIP's files as they were in training. ``student``: the network that CLIP is fused with."""

    clip: ClipConfig
    clip_digest: str
    student: TrainingConfig | None = None


class ClipClassifier(nn.Module):
    """Images (N, 3, S, S) float in [0, 1] at CLIP's size in, probabilities (N, C) out. ``vectors`` (C, D) are unit class vectors.

    A ``student`` sees the images at ``student_size`` px; its log-probabilities and CLIP's are added, with equal weight."""

    vectors: Tensor

    def __init__(self, scorer: ClipScorer, vectors: Tensor, student: nn.Module | None = None, student_size: int = 0):
        super().__init__()
        self.backbone = Backbone(scorer.model.visual, scorer.mean, scorer.std, scorer.size)
        self.scale = float(scorer.model.logit_scale.exp())
        self.register_buffer("vectors", vectors)
        self.student, self.student_size = student, student_size

    def forward(self, pixels: Tensor) -> Tensor:
        features = F.normalize(self.backbone(pixels), dim=1)
        scores = (self.scale * features @ self.vectors.T).log_softmax(1)
        if self.student is not None:
            size = (self.student_size, self.student_size)
            if pixels.shape[-2:] != size:
                pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)
            scores = scores + self.student(normalise(pixels)).log_softmax(1)
        return scores.softmax(1)


def clip_preprocessing(scorer: ClipScorer) -> Preprocessing:
    return Preprocessing.with_statistics(scorer.size, scorer.resize, scorer.mean, scorer.std)


def _build(saved: SavedModel, settings: ClipSettings, tensors: Mapping[str, Tensor]) -> nn.Module:
    if clip_digest(settings.clip) != settings.clip_digest:
        raise InputError(f"it was trained on another {settings.clip.model}; restore that CLIP")
    classes, student = len(saved.labels), settings.student
    scorer = ClipScorer(settings.clip.model_copy(update={"device": "cpu", "precision": "float32"}))
    network = build_classifier(student, classes) if student else None
    vectors = torch.zeros(classes, *tensors["vectors"].shape[1:])
    return ClipClassifier(scorer, vectors, network, student.image_size if student else 0).requires_grad_(False)


def _weights(network: nn.Module, _: ClipSettings) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("backbone.")}


CLIP = Kind("clip", ClipSettings, _build, lambda network, _: network, _weights)
