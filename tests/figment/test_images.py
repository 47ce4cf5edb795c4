import io

import numpy as np
import pytest
import torch
from PIL import Image

from figment.errors import InputError
from figment.images import decode, downscale, encode, to_tensor


def as_bytes(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_any_mode_becomes_rgb(mode):
    picture = Image.new("RGB", (5, 4), (200, 100, 50)).convert("I" if mode == "I;16" else mode)
    assert decode(as_bytes(picture.convert(mode), "PNG"), "x").mode == "RGB"


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = as_bytes(Image.new("RGB", (6, 4)), "JPEG", exif=exif)
    assert decode(data, "x").size == (4, 6)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_broken_picture_is_named(data):
    with pytest.raises(InputError, match=r"row 7: not a readable picture"):
        decode(data, "row 7")


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_round_trip(image_format):
    pixels = np.full((8, 8, 3), (10, 120, 240), np.uint8)
    back = np.asarray(decode(encode(pixels, image_format), "x"))
    assert np.abs(back.astype(int) - pixels).max() <= (0 if image_format == "png" else 6)


def test_to_tensor_keeps_native_pixels():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    assert torch.equal(to_tensor(Image.fromarray(pixels), 8), torch.from_numpy(pixels).permute(2, 0, 1))


def test_downscale_keeps_range_and_shape():
    assert downscale(torch.rand(2, 3, 64, 64), 8, antialias=True).shape == (2, 3, 8, 8)
