"""The world of photographs: CIFAR-10's training images with captions of what is measured in them.

A caption names the class, often the domain, and sometimes the ground's colour, the brightness or the contrast of the image.
The domains besides photo are filters: painting, sketch, silhouette, poster. Only weights are made from these images;
the images themselves are never part of the project.
"""

import io
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from figment.errors import InputError
from pocket.world import DOMAINS, Scenes, article

# CIFAR-10's classes in the order of their ids, with the other words that captions use.
CLASSES = {
    "airplane": ("plane",), "automobile": ("car",), "bird": (), "cat": (), "deer": (), "dog": (), "frog": (),
    "horse": (), "ship": ("boat",), "truck": (),
}  # fmt: skip
GROUNDS = {
    "white": (0.93, 0.93, 0.93), "gray": (0.55, 0.55, 0.55), "black": (0.08, 0.08, 0.08), "blue": (0.40, 0.58, 0.82),
    "green": (0.38, 0.52, 0.27), "brown": (0.48, 0.36, 0.26), "sand": (0.80, 0.72, 0.56),
}  # fmt: skip
WORDS = ["an image of a picture the bright dark high contrast soft background on", *GROUNDS]


class PhotosConfig(BaseModel):
    """Where the photographs are, and how often each is taken, with another caption each time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str  # a folder with train*.parquet and test*.parquet as on the Hugging Face Hub
    copies: int = 4  # half of them mirrored
    filtered_copies: int = 1  # of every other domain, by filters
    seed: int = 1

    @property
    def objects(self) -> tuple[str, ...]:
        return tuple(CLASSES)


def read_photos(source: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32) uint8 and class ids (N,) of a split.

    Raises InputError if the folder has no such file or an image has another size.
    """
    files = sorted(source.glob(f"{split}*.parquet"))
    if not files:
        raise InputError(f"{source}: no {split}*.parquet; expected CIFAR-10 as Parquet (img, label)")
    pixels, labels = [], []
    for file in files:
        table = pq.read_table(file, columns=["img", "label"])
        encoded = [row["bytes"] for row in table["img"].to_pylist()]
        with ThreadPoolExecutor() as pool:
            pixels += list(pool.map(lambda b: pil_to_tensor(Image.open(io.BytesIO(b)).convert("RGB")), encoded))
        labels += table["label"].to_pylist()
    if any(image.shape != (3, 32, 32) for image in pixels):
        raise InputError(f"{source}: images of 32 x 32 px are expected")
    return torch.stack(pixels), torch.tensor(labels)


# ---------------------------------------------------------------- filters, on images (B, 3, S, S) in [0, 1]


def _gray(pixels: Tensor) -> Tensor:
    return (pixels * torch.tensor([0.299, 0.587, 0.114], device=pixels.device)[:, None, None]).sum(1, keepdim=True)


def _saturated(pixels: Tensor, by: float) -> Tensor:
    gray = _gray(pixels)
    return (gray + (pixels - gray) * by).clamp(0, 1)


def painting(pixels: Tensor) -> Tensor:
    """The median of every 3x3 neighbourhood, saturated, in ten levels: brush strokes."""
    patches = F.pad(pixels, (1,) * 4, mode="reflect").unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
    return (_saturated(patches.median(-1).values, 1.6) * 10).round() / 10


def sketch(pixels: Tensor) -> Tensor:
    """Dark edges on white paper."""
    gray = F.pad(_gray(pixels), (1,) * 4, mode="reflect")
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=pixels.device)
    across, down = (F.conv2d(gray, k[None, None]) for k in (kernel, kernel.t()))
    strength = (across.square() + down.square()).sqrt()
    strength = strength / strength.flatten(1).quantile(0.97, dim=1).clamp(min=0.1)[:, None, None, None]
    return (1 - strength.clamp(0, 1)).expand(-1, 3, -1, -1)


def silhouette(pixels: Tensor) -> Tensor:
    """Black where it is darker than the mean, white elsewhere, with a narrow ramp between."""
    gray = _gray(pixels)
    return torch.sigmoid((gray - gray.mean((2, 3), keepdim=True)) * 24).expand(-1, 3, -1, -1)


def poster(pixels: Tensor) -> Tensor:
    """Three levels a channel, saturated."""
    return (_saturated(pixels, 2.0) * 2).round() / 2


FILTERS = {"painting": painting, "sketch": sketch, "silhouette": silhouette, "poster": poster}


# ---------------------------------------------------------------- captions


def measured(pixels: Tensor) -> list[dict[str, str]]:
    """What is measured in images (N, 3, S, S) uint8: the colour of an even border, brightness, contrast; absent where it is
    not decided."""
    images = pixels.float() / 255
    border = torch.cat([images[..., :4, :].flatten(2), images[..., :4].flatten(2), images[..., -4:].flatten(2)], 2)
    colour, spread = border.mean(2), border.std(2).mean(1)
    palette = torch.tensor(list(GROUNDS.values()))
    distance, nearest = torch.cdist(colour, palette).min(1)
    even = (distance < 0.20) & (spread < 0.17)
    gray = _gray(images).flatten(1)
    brightness, contrast = gray.mean(1), gray.std(1)
    dark, bright = brightness.quantile(0.15), brightness.quantile(0.85)
    soft, hard = contrast.quantile(0.15), contrast.quantile(0.85)
    names, rows = list(GROUNDS), []
    for i in range(len(pixels)):
        row = {"ground": names[nearest[i]]} if even[i] else {}
        row |= {"light": "bright"} if brightness[i] > bright else {"light": "dark"} if brightness[i] < dark else {}
        row |= (
            {"contrast": "high contrast"} if contrast[i] > hard else {"contrast": "soft"} if contrast[i] < soft else {}
        )
        rows.append(row)
    return rows


def caption(name: str, domain: str, facts: dict[str, str], dice: random.Random) -> str:
    """One of many wordings. The name alone and "an image of" are photographs."""
    name = dice.choice([name, name, *CLASSES[name]])
    style = [facts[key] for key in ("light", "contrast") if key in facts and dice.random() < 0.3]
    subject = f"{'a' if dice.random() < 0.3 else article(name)} {name}"
    draw = dice.random()
    if domain == "photo" and not style and draw < 0.15:
        text = name
    elif domain == "photo" and draw < 0.55:
        noun = " ".join([*style, dice.choice(["image", "image", "picture"])])
        text = f"{article(noun)} {noun} of {subject}"
    else:
        noun = " ".join([*style, domain])
        text = f"{article(noun)} {noun} of {subject}"
    says_ground = domain in ("photo", "painting") and "ground" in facts and dice.random() < 0.4
    return f"{text} on a {facts['ground']} background" if says_ground else text


def photo_bank(pixels: Tensor, labels: Tensor, config: PhotosConfig) -> Scenes:
    """Every photo ``config.copies`` times, every second of them mirrored, then through every filter; each with a caption of
    its own."""
    dice, names, facts = random.Random(config.seed), list(CLASSES), measured(pixels)
    parts, domains, captions = [], [], []
    rounds = [("photo", i) for i in range(config.copies)]
    rounds += [(domain, i) for domain in FILTERS for i in range(config.filtered_copies)]
    for domain, i in rounds:
        images = pixels.flip(3) if i % 2 else pixels
        if domain != "photo":
            images = torch.cat([(FILTERS[domain](b.float() / 255) * 255).round().byte() for b in images.split(2000)])
        parts.append(images)
        domains.append(torch.full((len(images),), DOMAINS.index(domain)))
        captions += [caption(names[y], domain, fact, dice) for y, fact in zip(labels.tolist(), facts, strict=True)]
    objects = F.one_hot(labels, len(names)).repeat(len(rounds), 1)
    return Scenes(torch.cat(parts), objects, torch.cat(domains), captions)
