import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from figment.images import decode, to_tensor
from figment.validation.duplicates import distances, first_alike, nearest_alike, perceptual_hash


@pytest.fixture(scope="module")
def images(pool) -> torch.Tensor:
    """(18, 3, 32, 32) uint8, rendered by the pocket generator."""
    ids = [i for file in pool.shards for i in pool.ids_of(file).to_pylist()]
    rows = [row for batch in pool.read(ids, ["image"]) for row in batch.to_pylist()]
    return torch.stack([to_tensor(decode(row["image"]["bytes"], "row"), 32) for row in rows])


def as_jpeg(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    files = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "jpeg", quality=quality)
        files.append(to_tensor(decode(buffer.getvalue(), "jpeg"), pixels.shape[-1]))
    return torch.stack(files)


def larger(pixels: torch.Tensor) -> torch.Tensor:
    return F.interpolate(pixels.float() / 255, scale_factor=3, mode="bicubic", antialias=True).clamp(0, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: as_jpeg(x, 95),
        larger,
        lambda x: (x.float() * 0.8 + 20).byte(),
        lambda x: x.float() / 255,
    ],
    ids=["jpeg", "larger", "paler", "float"],
)
def test_what_looks_the_same_has_a_near_code_and_what_does_not_has_none(images, change):
    codes, changed = perceptual_hash(images), perceptual_hash(change(images))
    assert np.median(distances(codes, changed)) <= 4
    assert distances(codes, changed).max() <= 16
    apart = np.bitwise_count(codes[:, None] ^ changed[None]).sum(2)
    assert apart[~np.eye(len(codes), dtype=bool)].min() > 30


def test_a_mirrored_image_is_another_and_its_mirror_the_same(images):
    codes = perceptual_hash(images)
    assert distances(codes, perceptual_hash(images.flip(3))).min() > 60
    assert (distances(codes, perceptual_hash(images.flip(3).flip(3))) == 0).all()


def test_flat_images_are_alike_whatever_their_colour():
    flat = torch.cat([torch.full((1, 3, 40, 24), value, dtype=torch.uint8) for value in (0, 7, 128, 255)])
    assert (perceptual_hash(flat) == 0).all()


@st.composite
def planted(draw) -> tuple[np.ndarray, int]:
    """Codes among which some are others with a few bits flipped, and a radius."""
    words = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = rng.integers(2**64, size=(draw(st.integers(1, 40)), words), dtype=np.uint64)
    radius = draw(st.integers(0, 20))
    for row in range(len(codes)):
        if rng.random() < 0.6:
            bits = np.zeros(64 * words, np.uint8)
            bits[rng.choice(64 * words, size=rng.integers(0, min(64 * words, radius + 4)), replace=False)] = 1
            codes[row] = codes[rng.integers(len(codes))] ^ np.packbits(bits).view(np.uint64)
    return codes, radius


@given(planted())
def test_the_search_finds_exactly_what_comparing_all_pairs_finds(case):
    codes, radius = case
    apart = np.bitwise_count(codes[:, None] ^ codes[None]).sum(2, dtype=int)
    first = [next(j for j in range(len(codes)) if apart[i, j] <= radius) for i in range(len(codes))]
    assert first_alike(codes, radius).tolist() == first
    others = codes[len(codes) // 2 :]
    nearest = np.where(apart[:, len(codes) // 2 :].min(1) <= radius, apart[:, len(codes) // 2 :].argmin(1), -1)
    assert nearest_alike(codes, others, radius).tolist() == nearest.tolist()


def test_the_search_looks_at_few_of_all_pairs(monkeypatch):
    """Two hundred thousand codes are twenty thousand million pairs."""
    rng = np.random.default_rng(0)
    codes = rng.integers(2**64, size=(200_000, 4), dtype=np.uint64)
    codes[-500:] = codes[:500] ^ np.uint64(1 << 9)
    looked_at = []
    monkeypatch.setattr(
        "figment.validation.duplicates.distances", lambda a, b: looked_at.append(len(a)) or distances(a, b)
    )
    first = first_alike(codes, 10)
    assert np.flatnonzero(first != np.arange(len(codes))).tolist() == list(range(199_500, 200_000))
    assert sum(looked_at) < 1_000_000


def test_a_crowd_of_equal_codes_is_looked_at_once():
    codes = np.zeros((300_000, 4), np.uint64)
    codes[::2, 0] = 1
    assert set(first_alike(codes, 2)) == {0}
    assert set(nearest_alike(codes, codes[:1], 0)) == {0, -1}


def test_nothing_is_like_nothing():
    none = np.empty((0, 4), np.uint64)
    assert len(first_alike(none, 10)) == 0
    assert nearest_alike(np.ones((2, 4), np.uint64), none, 10).tolist() == [-1, -1]
