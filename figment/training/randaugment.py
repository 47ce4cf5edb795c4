"""The augmentation of the multi-label recipes: cutout, then RandAugment; every image from a seed of its own."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor

# RandAugment as the paper's code has it: two operations, each done half of the time, magnitudes even up to 9 of 10. timm's
# names for those that grow with the magnitude. Cutout, one of the original list, comes before them, always.
OPERATIONS = [
    "AutoContrast", "Equalize", "Invert", "Rotate", "PosterizeOriginal", "SolarizeIncreasing", "ColorIncreasing",
    "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel",
]  # fmt: skip
POLICY = "rand-n2-m9-mstd101-p0.5"  # a deviation above 100 means: magnitude uniform from 0


def cutout(image: Tensor, centre: tuple[int, int], colour: Sequence[int], share: float) -> Tensor:
    """``image`` (3, H, W) uint8 with a rectangle of ``share`` of each side filled around ``centre`` (row, column), as far
    as it lies inside; half of the side either way, so an odd number of pixels, as in the paper's code."""
    halves = [int(side * share + 0.5) // 2 for side in image.shape[1:]]
    rows, columns = (slice(max(at - half, 0), at + half + 1) for at, half in zip(centre, halves, strict=True))
    image = image.clone()
    image[:, rows, columns] = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    return image


def augment_image(image: Tensor, cutout_share: float, randaugment: bool, seed: Sequence[int]) -> Tensor:
    """Another view of an image (3, H, W) uint8: the same for the same ``seed``, whatever came before."""
    if not (cutout_share or randaugment):
        return image
    with own_randomness(seed):
        if cutout_share:
            centre = (random.randrange(image.shape[1]), random.randrange(image.shape[2]))
            image = cutout(image, centre, [random.randrange(256) for _ in range(3)], cutout_share)
        if randaugment:
            view = _randaugment()(Image.fromarray(image.permute(1, 2, 0).numpy()))
            image = torch.from_numpy(np.array(view)).permute(2, 0, 1).contiguous()
    return image


@cache
def _randaugment():  # type: ignore[no-untyped-def]
    return rand_augment_transform(POLICY, transforms=list(OPERATIONS))


@contextmanager
def own_randomness(seed: Sequence[int]) -> Iterator[None]:
    """Python's and NumPy's global generators, the only ones that timm's operations know, seeded here and put back after."""
    before = random.getstate(), np.random.get_state()
    first, second = (int(word) for word in np.random.SeedSequence(list(seed)).generate_state(2))
    random.seed(first)
    np.random.seed(second)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
