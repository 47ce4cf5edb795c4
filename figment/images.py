"""Pixels in and out of files: one decoder for every untrusted picture, one encoder for every generated one."""

import io
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from figment.errors import InputError

READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
Image.MAX_IMAGE_PIXELS = 64_000_000


def decode(data: bytes, where: str) -> Image.Image:
    """An RGB picture from bytes of any common format and mode, EXIF orientation applied."""
    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
        return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{where}: not a readable picture ({error}); expected one of {', '.join(READABLE)}") from error


def encode(pixels: np.ndarray, image_format: Literal["jpeg", "png", "webp"]) -> bytes:
    """Bytes of an (H, W, 3) uint8 picture. JPEG is quality 95 without chroma subsampling, which small pictures need."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {
        "jpeg": {"quality": 95, "subsampling": 0},
        "png": {"compress_level": 1},
        "webp": {"quality": 95},
    }[image_format]
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """(3, size, size) uint8 of an RGB picture, centre-cropped to a square and resized with antialiasing if need be."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def downscale(pixels: Tensor, size: int, antialias: bool) -> Tensor:
    """(B, 3, size, size) from (B, 3, H, W) float pixels in [0, 1], bilinear; ``antialias`` widens the filter to the
    whole of what is averaged (the paper's choice for CIFAR, not for EuroSAT)."""
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=antialias).clamp(0, 1)


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened picture of any mode as RGB, as ``decode`` gives it: EXIF orientation applied, transparency dropped, of 16
    bits the 8 that count most; of 32 bits, whose black and white nobody can know, the darkest and the brightest."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        values = (values - values.min()) / max(np.ptp(values), 1e-9) * 255
        image = Image.fromarray(values.round().astype(np.uint8))
    return image.convert("RGB")


def squash(image: Image.Image, size: int) -> Tensor:
    """(3, size, size) uint8 of an RGB picture, whole, whatever its sides: multi-label recipes must not crop a label away."""
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
