"""Random changes of a batch, every image its own, on the device the images are on."""

import torch
import torch.nn.functional as F
from torch import Tensor

from figment.training.config import AugmentConfig
from figment.training.processes import WHOLE, Share

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(pixels: Tensor) -> Tensor:
    """ImageNet statistics; (B, 3, S, S) uint8 or float in [0, 1] -> float."""
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (MEAN, STD))
    return (pixels - mean) / std


def augment(pixels: Tensor, config: AugmentConfig, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Random crop, flip, rotation, colour jitter: (B, 3, S, S) uint8 -> float in [0, 1]. ``generator`` lives on the CPU,
    so that a run on another device sees the same changes; ``pixels`` may be a process's share of a batch."""
    if config.transforms == "timm":
        from figment.training.timm_recipes import transform

        return transform(pixels, config, generator, share)
    if config.shift:
        pixels = shift(pixels, config.shift, generator, share)
    pixels = pixels.float() / 255
    if config.crop_scale < 1 or config.rotation:
        pixels = resample(pixels, config, generator, share)
    elif config.flip:
        mirrored = uniform(pixels, generator, share, 0, 1) < 0.5
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    if config.color_jitter:
        j = config.color_jitter
        gain = uniform(pixels, generator, share, 1 - j, 1 + j, 3, 1, 1)
        pixels = (pixels * gain + uniform(pixels, generator, share, -j / 2, j / 2, 1, 1, 1)).clamp(0, 1)
    return pixels


def shift(pixels: Tensor, reach: int, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Each image moved by up to ``reach`` whole pixels in both directions; what enters is black, as in a padded crop."""
    size = pixels.shape[-1]
    padded = F.pad(pixels, (reach,) * 4)
    moves = torch.randint(2 * reach + 1, (2, len(pixels) * share.count), generator=generator)
    top, left = share.of(moves, 1).to(pixels.device)
    span = torch.arange(size, device=pixels.device)
    rows, columns = top[:, None] + span, left[:, None] + span
    each = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resample(pixels: Tensor, config: AugmentConfig, generator: torch.Generator, share: Share) -> Tensor:
    """Random resized crop, flip and rotation as one affine resampling; (B, 3, S, S) float.

    Area uniform in [crop_scale, crop_largest], aspect log-uniform, as a rule in [3/4, 4/3], angle uniform in [-rotation,
    rotation]."""
    area = uniform(pixels, generator, share, config.crop_scale, max(config.crop_scale, config.crop_largest))
    aspect = torch.exp(uniform(pixels, generator, share, -config.crop_aspect, config.crop_aspect))
    if config.crop_scale == 1:
        aspect = torch.ones_like(aspect)
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    mirror = (
        torch.where(uniform(pixels, generator, share, 0, 1) < 0.5, -1.0, 1.0) if config.flip else torch.ones_like(area)
    )
    angle = uniform(pixels, generator, share, -config.rotation, config.rotation).deg2rad()
    theta = torch.zeros(len(pixels), 2, 3, device=pixels.device)
    theta[:, 0, 0], theta[:, 0, 1] = width * mirror * angle.cos(), -height * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = width * mirror * angle.sin(), height * angle.cos()
    theta[:, 0, 2] = (1 - width) * uniform(pixels, generator, share, -1, 1)
    theta[:, 1, 2] = (1 - height) * uniform(pixels, generator, share, -1, 1)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False).clamp(0, 1)


def uniform(pixels: Tensor, generator: torch.Generator, share: Share, low: float, high: float, *shape: int) -> Tensor:
    """(B, *shape) draws on the images' device."""
    drawn = share.of(torch.rand(len(pixels) * share.count, *shape, generator=generator))
    return (drawn * (high - low) + low).to(pixels.device)
