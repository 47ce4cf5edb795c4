"""Classifiers: any timm model from random weights, and what it says of pictures."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from figment.datasets.labelled import Images
from figment.errors import InputError
from figment.labels import nearest
from figment.text import reason_of
from figment.training.augment import normalise
from figment.training.config import TrainingConfig
from figment.training.start import start_from
from figment.training.stem import FACTORS, keep_resolution, on_meta, patch_arguments


def build_classifier(config: TrainingConfig, num_classes: int) -> nn.Module:
    """A timm model without pretrained weights; ``stem`` keeps resolution that its first layers would throw away."""
    if config.model not in timm.list_models():
        hint = nearest(config.model, timm.list_models())
        raise InputError(f"training.model: timm has no {config.model!r}; the nearest names are {', '.join(hint)}")
    factor = FACTORS[config.stem]
    patch = patch_arguments(on_meta(lambda: create(config, num_classes)), factor) if factor > 1 else {}
    model = create(config, num_classes, **patch)
    if factor > 1 and not patch:
        keep_resolution(model, factor, config.model)
    return model.to(memory_format=torch.channels_last)


def create(config: TrainingConfig, num_classes: int, **options: Any) -> nn.Module:
    """The timm model as it is; raises InputError for an option it does not take."""
    options |= {"drop_rate": config.dropout} if config.dropout else {}
    options |= {"drop_path_rate": config.drop_path} if config.drop_path else {}
    try:
        return timm.create_model(config.model, num_classes=num_classes, img_size=config.image_size, **options)
    except TypeError:  # most architectures take any size and no such argument
        pass
    try:
        return timm.create_model(config.model, num_classes=num_classes, **options)
    except TypeError as error:
        raise InputError(
            f"training: {config.model!r} does not take all of {', '.join(options)} ({reason_of(error)})"
        ) from error


def check_classifier(config: TrainingConfig, num_classes: int) -> None:
    """Raise InputError, before anything is rendered, if the model cannot be built, or cannot take its weights or the images."""
    model = build_classifier(config, num_classes).eval()
    if config.weights:
        start_from(model, config.weights)
    try:
        model(torch.zeros(1, 3, config.image_size, config.image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"training.model: {config.model!r} with stem {config.stem} does not take pictures of {config.image_size} px "
            f"({reason_of(error)}); choose another model, stem or training.image_size"
        ) from error


@torch.inference_mode()
def predict(model: nn.Module, pixels: Tensor, batch_size: int = 512) -> Tensor:
    """Logits (N, C) on the CPU for pictures (N, 3, S, S) uint8. The model is in eval mode: no batch sees another."""
    device = next(model.parameters()).device
    model.eval()
    parts = (normalise(part.to(device)) for part in pixels.split(batch_size))
    return torch.cat([model(part.contiguous(memory_format=torch.channels_last)).float().cpu() for part in parts])


def predict_all(model: nn.Module, images: Images) -> Tensor:
    """Logits (N, C) of a set, whether or not memory holds it."""
    found = [(rows, predict(model, part.pixels)) for rows, part in images.parts()]
    order = torch.cat([rows for rows, _ in found]).argsort()
    return torch.cat([logits for _, logits in found])[order]
