import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import resize as torchvision_resize

from figment.errors import InputError
from figment.images import as_rgb, decode, encode, to_tensor


def as_bytes(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_any_mode_becomes_rgb(mode):
    image = Image.new("RGB", (5, 4), (200, 100, 50)).convert("I" if mode == "I;16" else mode)
    assert decode(as_bytes(image.convert(mode), "PNG"), "x").mode == "RGB"


def test_sixteen_bits_keep_their_shades():
    """Pillow alone would clip all above 255 of 65535 to white."""
    ramp = Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16)[None])
    assert ramp.mode == "I;16"
    read = np.asarray(decode(as_bytes(ramp, "PNG"), "x"))
    assert read.shape == (1, 256, 3)
    assert np.abs(read[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_transparency_is_dropped_and_the_colour_below_it_kept():
    """The published loader takes the first three channels too."""
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert decode(as_bytes(image, "PNG"), "x").getpixel((0, 0)) == (10, 20, 30)


def test_pixels_of_32_bits_are_refused():
    with pytest.raises(InputError, match=r"row 3: not a readable image \(32 bits a pixel"):
        decode(as_bytes(Image.new("F", (4, 4), 0.5), "TIFF"), "row 3")


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = as_bytes(Image.new("RGB", (6, 4)), "JPEG", exif=exif)
    assert decode(data, "x").size == (4, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_as_pillow_does_and_once(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    data = as_bytes(Image.fromarray(pixels), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    read = decode(data, "x")
    assert np.array_equal(np.asarray(read), np.asarray(expected))
    assert np.array_equal(np.asarray(as_rgb(read)), np.asarray(expected))


def with_exif(exif: bytes) -> bytes:
    """A black JPEG of 6 x 4 with these bytes for EXIF."""
    data, segment = as_bytes(Image.new("RGB", (6, 4)), "JPEG"), b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]


def test_a_image_with_rubbish_for_exif_is_read_unturned():
    read = decode(with_exif(b"\xff" * 40), "x")
    assert read.size == as_rgb(read).size == (6, 4)


def test_damaged_exif_beside_the_orientation_does_not_matter():
    """A resolution of a wrong type: Pillow cannot write it again."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    tags = bytearray(exif.tobytes())
    tags[29] = 3  # the resolution's type, of a whole number
    data = with_exif(bytes(tags[6:]))
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert decode(data, "x").size == (4, 6)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_a_broken_image_is_named(data):
    with pytest.raises(InputError, match=r"row 7: not a readable image"):
        decode(data, "row 7")


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_round_trip(image_format):
    pixels = np.full((8, 8, 3), (10, 120, 240), np.uint8)
    back = np.asarray(decode(encode(pixels, image_format), "x"))
    assert np.abs(back.astype(int) - pixels).max() <= (0 if image_format == "png" else 6)


def test_to_tensor_keeps_native_pixels():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    assert torch.equal(to_tensor(Image.fromarray(pixels), 8), torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "bilinear_no_antialias"])
def test_to_tensor_crops_the_centre_whatever_the_filter(resize):
    image = Image.new("RGB", (96, 32), "black")
    image.paste("white", (32, 0, 64, 32))
    assert to_tensor(image, 8, resize).min() >= (230 if resize == "bicubic" else 255)  # bicubic looks over the edge


@pytest.mark.parametrize(
    ("resize", "antialias", "tolerance"), [("bilinear", True, 1), ("bilinear_no_antialias", False, 0)]
)
def test_to_tensor_resizes_as_torchvision_does(resize, antialias, tolerance):
    """To the bit without antialiasing, as the paper's script had it; with it torchvision computes in fixed point."""
    pixels = torch.randint(0, 256, (3, 128, 128), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    theirs = torchvision_resize(pixels, [32, 32], antialias=antialias)
    ours = to_tensor(Image.fromarray(pixels.permute(1, 2, 0).numpy()), 32, resize)
    assert (ours.int() - theirs.int()).abs().max() <= tolerance


def noise(size: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8))


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "bilinear_no_antialias", "squash"])
def test_a_larger_image_goes_through_the_native_size(resize):
    large, native = noise(128), noise(16)
    there = Image.fromarray(to_tensor(large, 16, resize).permute(1, 2, 0).numpy())
    assert torch.equal(to_tensor(large, 40, resize, native_size=16), to_tensor(there, 40, resize))
    assert not torch.equal(to_tensor(large, 40, resize, native_size=16), to_tensor(large, 40, resize))
    for smaller in (native, noise(9)):
        assert torch.equal(to_tensor(smaller, 40, resize, native_size=16), to_tensor(smaller, 40, resize))
