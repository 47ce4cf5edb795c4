"""Pixels in and out of files: one decoder for every untrusted image, one encoder for every generated one."""

import base64
import io
import struct
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError, features
from torch import Tensor

from figment.errors import InputError
from figment.text import reason_of
from figment.types import Resize

READABLE = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(["AVIF"] if features.check("avif") else []))
TURNS = {  # by EXIF's orientation; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Image.MAX_IMAGE_PIXELS = 64_000_000


def decode(data: bytes, where: str) -> Image.Image:
    """An RGB image from bytes of any common format and mode, EXIF orientation applied. Grey is spread over three
    channels, transparency dropped, 16 bits become the 8 that count most."""
    try:
        image = Image.open(io.BytesIO(data), formats=READABLE)
        if image.mode in ("I", "F"):
            raise ValueError("32 bits a pixel, whose black and white no one can know")
        return as_rgb(image)
    except UnidentifiedImageError as error:  # its own words name an object in memory
        raise InputError(f"{where}: not a readable image; expected one of {', '.join(READABLE)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{where}: not a readable image ({reason_of(error)}); expected one of {', '.join(READABLE)}"
        ) from error


def encode(pixels: np.ndarray, image_format: Literal["jpeg", "png", "webp"], xmp: bytes = b"") -> bytes:
    """Bytes of an (H, W, 3) uint8 image with an XMP packet. JPEG is quality 95 without chroma subsampling, which small
    images need."""
    buffer = io.BytesIO()
    settings: dict[str, dict[str, Any]] = {
        "jpeg": {"quality": 95, "subsampling": 0, "xmp": xmp},
        "png": {"compress_level": 1},
        "webp": {"quality": 95, "xmp": xmp},
    }
    options = settings[image_format]
    if image_format == "png" and xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def data_uri(data: bytes, image_format: str) -> str:
    """The file of an image as a URI that holds it, for pages that need no other file."""
    return f"data:image/{image_format};base64,{base64.b64encode(data).decode()}"


def contrasts_of(pixels: Tensor) -> Tensor:
    """(N,) the mean over channels of the standard deviation of images (N, 3, H, W), uint8 or float in [0, 1]; 0 shows nothing."""
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    return pixels.flatten(2).std(2).mean(1)


def to_tensor(image: Image.Image, size: int, resize: Resize = "bicubic", native_size: int | None = None) -> Tensor:
    """(3, size, size) uint8 of an RGB image, centre-cropped to a square and resized if need be: ``bicubic`` with
    antialiasing, or bilinearly as ``bilinear`` does it; or whole, squashed to the square. Larger images are brought
    to ``native_size`` first, if there is one: they then show no more than those that were taken at that size."""
    if native_size and min(image.size) > native_size:
        image = Image.fromarray(to_tensor(image, native_size, resize).permute(1, 2, 0).numpy())
    if image.size != (size, size):
        if resize in ("squash", "squash_bicubic"):
            return squash(image, size, "bicubic" if resize == "squash_bicubic" else "bilinear")
        if resize == "bicubic":
            image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        else:
            square = min(image.size)
            pixels = _chw(ImageOps.fit(image, (square, square), Image.Resampling.NEAREST))[None].float()
            return bilinear(pixels, size, antialias=resize == "bilinear")[0].round().clamp(0, 255).to(torch.uint8)
    return _chw(image)


def _chw(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def bilinear(pixels: Tensor, size: int, antialias: bool) -> Tensor:
    """(B, 3, size, size) from (B, 3, H, W) float pixels, as torchvision's ``Resize`` does it.

    ``antialias`` widens the filter to the whole of what is averaged (the paper's choice for CIFAR, not for EuroSAT):
    at factor f a triangle over 2 f pixels a side. Without, only the two pixels next to each new centre count: at an even
    factor rows and columns f i + f/2 - 1 and f i + f/2."""
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=antialias)


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image of any mode as RGB: EXIF orientation applied if it can be read, transparency dropped, of 16 bits
    the 8 that count most; of 32 bits, whose black and white no one can know, the darkest becomes black and the
    brightest white."""
    image = _upright(image)
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip all above 255 to white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        values = (values - values.min()) / max(np.ptp(values), 1e-9) * 255
        image = Image.fromarray(values.round().astype(np.uint8))
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF or XMP says, which then go, lest they turn it again. Pillow's own ``exif_transpose`` writes the
    rest of them again, which fails on what is damaged."""
    image.load()
    try:
        method = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, TypeError, struct.error):  # rubbish
        method = None
    image = image.copy() if method is None else image.transpose(method)
    for note in ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"):
        image.info.pop(note, None)
    return image


def squash(image: Image.Image, size: int, by: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    """(3, size, size) uint8 of an RGB image, whole, whatever its sides: multi-label recipes must not crop a label away."""
    resized = image.resize((size, size), Image.Resampling[by.upper()])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
