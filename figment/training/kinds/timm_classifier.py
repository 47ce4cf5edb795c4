"""``timm``: a classifier of timm, from random weights; an image is of one class."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from figment.training.augment import MEAN, STD
from figment.training.classifier import build_classifier
from figment.training.config import TrainingConfig
from figment.training.saved import Kind, Preprocessing, SavedModel


def timm_preprocessing(training: TrainingConfig) -> Preprocessing:
    return Preprocessing(
        image_size=training.image_size, resize=training.resize, native_size=training.native_size, mean=MEAN, std=STD
    )


def _build(saved: SavedModel, training: TrainingConfig, _: Mapping[str, Tensor]) -> nn.Module:
    return build_classifier(training, len(saved.labels))


class Probabilities(nn.Module):
    """Images (N, 3, S, S) float in [0, 1] in, probabilities (N, C) out."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, saved: SavedModel):
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(saved.preprocessing, name))[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network((pixels - self.mean) / self.std).softmax(1)


TIMM = Kind("timm", TrainingConfig, _build, Probabilities)
