"""Random changes of images (B, 3, S, S) in [-1, 1], on the device of the images and of the random generator."""

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers in [0, 1) on the generator's device."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def blurred(pixels: Tensor) -> Tensor:
    """The mean of every 3x3 neighbourhood."""
    return F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def degrade(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Random blur and noise, so that softness alone does not change the judge's opinion."""
    count = len(pixels)
    mixed = torch.lerp(pixels, blurred(pixels), uniform(generator, count, 1, 1, 1))
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device)
    return mixed + noise * 0.08 * uniform(generator, count, 1, 1, 1)


def recolour(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, noise, gain, and for a third of the images a mixing of the colour channels: CLIP has to recognise softer
    images and other artists' colours."""
    count = len(pixels)
    mix = torch.randn(count, 3, 3, generator=generator, device=pixels.device).mul(1.5).softmax(-1)
    mixed = torch.einsum("bij,bjhw->bihw", mix, pixels)
    pixels = torch.where(uniform(generator, count, 1, 1, 1) < 0.3, mixed, pixels)
    amount = uniform(generator, count, 1, 1, 1) * (uniform(generator, count, 1, 1, 1) < 0.6)
    pixels = torch.lerp(pixels, blurred(pixels), amount)
    noise = torch.randn(pixels.shape, generator=generator, device=pixels.device)
    noise = noise * 0.06 * uniform(generator, count, 1, 1, 1)
    return (pixels * (0.85 + 0.3 * uniform(generator, count, 1, 1, 1)) + noise).clamp(-1, 1)


def shift(pixels: Tensor, generator: torch.Generator, by: int = 4) -> Tensor:
    """Every image moved by up to ``by`` pixels either way over its reflected border, and mirrored half of the time."""
    count, _, size, _ = pixels.shape
    padded = F.pad(pixels, (by,) * 4, mode="reflect")
    columns = torch.arange(size, device=pixels.device).expand(count, size)
    columns = torch.where(uniform(generator, count, 1) < 0.5, columns.flip(1), columns)
    draw = lambda: (uniform(generator, count, 1) * (2 * by + 1)).long()  # noqa: E731
    rows, columns = torch.arange(size, device=pixels.device) + draw(), columns + draw()
    index = torch.arange(count, device=pixels.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(pixels: Tensor, generator: torch.Generator, side: int = 8) -> Tensor:
    """A gray square of ``side`` pixels at a random place of every image."""
    count, _, size, _ = pixels.shape
    corner = uniform(generator, 2, count, 1) * (size + side) - side
    line = torch.arange(size, device=pixels.device)
    inside = (line >= corner) & (line < corner + side)
    return pixels * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
