"""Near-duplicates: a 256-bit perceptual hash, and a search for near codes that compares few of all pairs.

The hash is the sign pattern of an image's low frequencies (Zauner 2010): it survives another size, another file format and
small changes of brightness and contrast, and tells apart what differs in shape. It sees no colour and knows no mirror image.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE, BLOCK = 64, 16  # px that an image is shrunk to; frequencies kept in either direction
WORDS = BLOCK * BLOCK // 64
GREY = (0.299, 0.587, 0.114)
TOGETHER = 256  # images hashed at a time
UNPACKED = 16_384  # codes whose bits have a byte each at a time


def perceptual_hash(pixels: Tensor) -> np.ndarray:
    """(N, 4) uint64 codes of images (N, 3, H, W) uint8 or float in [0, 1], squashed to a square.

    A bit says whether one of the 16 x 16 lowest frequencies (the constant ones left out) of the grey image is above their
    median; an image without any is all zeros.
    """
    return np.concatenate([_perceptual_hash(part) for part in pixels.split(TOGETHER)])


def _perceptual_hash(pixels: Tensor) -> np.ndarray:
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
    grey = (pixels * torch.tensor(GREY, device=pixels.device)[:, None, None]).sum(1, keepdim=True)
    small = F.interpolate(grey, size=(SIDE, SIDE), mode="bicubic", antialias=True)[:, 0]
    waves = torch.arange(1, BLOCK + 1)[:, None] * (torch.arange(SIDE) + 0.5)
    basis = torch.cos(waves * (torch.pi / SIDE)).to(small)  # rows of the DCT-II
    strengths = (basis @ small @ basis.T).flatten(1).round(decimals=3)  # what is left is a flat image's noise
    bits = strengths > strengths.median(1, keepdim=True).values
    return np.packbits(bits.cpu().numpy(), axis=1).view("<u8").astype(np.uint64)


def distances(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) number of bits in which codes (N, W) differ from others (N, W), row by row."""
    return np.bitwise_count(codes ^ others).sum(1, dtype=np.int64)


def first_alike(codes: np.ndarray, radius: int) -> np.ndarray:
    """(N,) for each of ``codes`` (N, W) uint64 the first row within ``radius`` bits of it: itself, if nothing before is.

    Exact, and linear but for codes that share one of ``radius`` + 1 parts: two codes that differ in ``radius`` bits agree
    in at least one (multi-index hashing, Norouzi et al. 2012). Equal codes are looked at once.
    """
    unique, rows, inverse = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    first = rows.copy()
    for part in _parts(unique, radius):
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], part[order], "right")
        for left, right in _pairs(np.arange(1, len(order) + 1), ends):
            a, b = order[left], order[right]
            near = distances(unique[a], unique[b]) <= radius
            np.minimum.at(first, a[near], rows[b[near]])
            np.minimum.at(first, b[near], rows[a[near]])
    return first[inverse.reshape(-1)]


def nearest_alike(codes: np.ndarray, others: np.ndarray, radius: int) -> np.ndarray:
    """(N,) for each of ``codes`` (N, W) the row of the nearest of ``others`` (M, W) within ``radius`` bits, the first of
    equals; -1 if there is none."""
    unique, inverse = np.unique(codes, axis=0, return_inverse=True)
    far = (radius + 1) * (len(others) + 1)
    best = np.full(len(unique), far)  # distance * (M + 1) + row: the smallest is the nearest, then the first
    for part, other in zip(_parts(unique, radius), _parts(others, radius), strict=True):
        order = np.argsort(other, kind="stable")
        starts, ends = (np.searchsorted(other[order], part, side) for side in ("left", "right"))
        for a, right in _pairs(starts, ends):
            b = order[right]
            found = distances(unique[a], others[b])
            near = found <= radius
            np.minimum.at(best, a[near], found[near] * (len(others) + 1) + b[near])
    return np.where(best < far, best % (len(others) + 1), -1)[inverse.reshape(-1)]


def _parts(codes: np.ndarray, radius: int) -> Iterator[np.ndarray]:
    """``radius`` + 1 keys (N,) uint64 of disjoint parts of the codes' bits. The bits are shuffled first, always in the same
    way: neighbouring frequencies go together, and parts of them would be alike too often."""
    rng = np.random.default_rng(0)
    for columns in np.array_split(rng.permutation(codes.shape[1] * 64), radius + 1):
        starts = range(0, max(1, len(codes)), UNPACKED)
        words = np.concatenate([_picked(codes[start : start + UNPACKED], columns) for start in starts])
        factors = rng.integers(2**62, size=words.shape[1], dtype=np.uint64) * 2 + 1
        yield (words * factors).sum(1, dtype=np.uint64)  # parts of more than 64 bits may collide: pairs are checked


def _picked(codes: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(N, words) uint64: these bits of the codes, and zeros up to whole words."""
    packed = np.packbits(np.unpackbits(np.ascontiguousarray(codes).view(np.uint8), axis=1)[:, columns], axis=1)
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))).view(np.uint64)


def _pairs(starts: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs (i, j) with starts[i] <= j < ends[i], a vector of them at a time."""
    rows, step = np.arange(len(starts)), 0
    while len(rows := rows[starts[rows] + step < ends[rows]]):
        yield rows, starts[rows] + step
        step += 1
