"""timm's own augmentation: its transforms, image by image, and Mixup and CutMix, drawn from Figment's seeds."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.data import Mixup, create_transform
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from figment.training.config import AugmentConfig, FinetuneConfig, TrainingConfig
from figment.training.processes import WHOLE, Share


def transform(pixels: Tensor, config: AugmentConfig, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """(B, 3, S, S) uint8 -> float in [0, 1], each image changed by timm's training transform, seeded by ``generator``."""
    change = _transform(config, pixels.shape[-1])
    seeds = share.of(torch.randint(2**31, (len(pixels) * share.count,), generator=generator)).tolist()
    made = []
    for image, seed in zip(pixels.cpu(), seeds, strict=True):
        with seeded(seed):
            made.append(change(to_pil_image(image)))
    return torch.stack(made).to(pixels.device)


@lru_cache
def _transform(config: AugmentConfig, size: int) -> Any:
    return create_transform(
        size, is_training=True, scale=(config.crop_scale, 1.0), hflip=0.5 if config.flip else 0.0,
        color_jitter=config.color_jitter, auto_augment=config.auto_augment, re_prob=config.random_erasing,
        interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3,
    )  # fmt: skip


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block the global random numbers that timm draws from follow from ``seed``; afterwards they are as before."""
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


def mix(
    pixels: Tensor, labels: Tensor, classes: int, config: TrainingConfig | FinetuneConfig, seed: int
) -> tuple[Tensor, Tensor]:
    """A batch (B, 3, S, S) and its targets: labels (B,) as they are, or, with Mixup or CutMix, (B, C) probabilities with the
    labels' smoothing in them. Of an odd batch the last image stays as it is."""
    if not (config.mixup or config.cutmix) or len(pixels) < 2:
        return pixels, labels
    even = len(pixels) - len(pixels) % 2
    mixup = Mixup(config.mixup, config.cutmix, label_smoothing=config.label_smoothing, num_classes=classes)
    with seeded(seed):
        mixed, targets = mixup(pixels[:even].clone(), labels[:even])
    off = config.label_smoothing / classes
    rest = F.one_hot(labels[even:], classes).to(targets) * (1 - config.label_smoothing) + off
    return torch.cat([mixed, pixels[even:]]), torch.cat([targets, rest])


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Of labels (B,), smoothed here, or of probabilities (B, C), which are already."""
    smoothing = label_smoothing if targets.dim() == 1 else 0.0
    return F.cross_entropy(logits, targets, label_smoothing=smoothing)
