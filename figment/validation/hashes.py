"""Perceptual hashes of whole sets: of a pool's images, kept beside it, and of real images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.columns import Ids, Places, id_array
from figment.datasets.labelled import StreamedImages
from figment.datasets.tagged import TaggedImages
from figment.images import contrasts_of
from figment.synthesis.pool import Pool
from figment.validation.duplicates import TOGETHER, WORDS, perceptual_hash
from figment.validation.features import FeatureStore


class HashStore(FeatureStore):
    """Codes (4,) of images, in ``hashes/`` beside the pool, a file a shard; as signed integers, which torch can hold."""

    what = "perceptual hashes"

    def __init__(self, pool: Pool):
        self.pool, self.batch_size = pool, TOGETHER
        self.folder = pool.folder.parent / "hashes"

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[np.ndarray]:
        return list(perceptual_hash(pixels).view(np.int64))

    def codes(self, image_ids: Ids) -> np.ndarray:
        """(N, 4) uint64 codes of images, each named once, in their order."""
        self.complete()
        wanted = id_array(image_ids)
        places, found = Places(wanted), np.zeros((len(wanted), WORDS), np.uint64)
        for ids, codes in self.read(wanted):
            found[places.of(ids)] = codes.numpy().view(np.uint64)
        return found


@dataclass(frozen=True)
class HashedSet:
    """Real images as the gates see them: ``codes`` and ``mirrored`` (N, 4), ``contrasts`` and ``labels`` (N,); ``where`` says
    what a row's image is called."""

    codes: np.ndarray
    mirrored: np.ndarray
    contrasts: np.ndarray
    labels: np.ndarray
    where: Callable[[int], str]


def hash_set(images: StreamedImages) -> HashedSet:
    """Hashes of a set, whether or not memory holds its images."""
    parts = ((rows.numpy(), part.pixels) for rows, part in images.parts())
    return _hashed(parts, torch.as_tensor(images.labels).numpy(), images.listing.where)


def hash_tagged(images: TaggedImages, what: str) -> HashedSet:
    """The same of images with tags, each under the first of its own."""
    rows = np.arange(len(images))
    parts = ((part, images.pixels[part]) for part in np.array_split(rows, max(1, -(-len(rows) // TOGETHER))))
    return _hashed(parts, (images.targets > 0).int().argmax(1).numpy(), lambda row: f"{what} image {row}")


def joined(sets: Sequence[HashedSet]) -> HashedSet:
    """Several sets as one, in their order."""
    ends = np.cumsum([len(found.labels) for found in sets])

    def where(row: int) -> str:
        at = int(np.searchsorted(ends, row, "right"))
        return sets[at].where(row - (int(ends[at - 1]) if at else 0))

    return HashedSet(
        np.concatenate([found.codes for found in sets]),
        np.concatenate([found.mirrored for found in sets]),
        np.concatenate([found.contrasts for found in sets]),
        np.concatenate([found.labels for found in sets]),
        where,
    )


def _hashed(parts: Iterable[tuple[np.ndarray, Tensor]], labels: np.ndarray, where: Callable[[int], str]) -> HashedSet:
    codes, mirrored = (np.empty((len(labels), WORDS), np.uint64) for _ in range(2))
    contrasts = np.empty(len(labels))
    for rows, pixels in parts:
        codes[rows] = perceptual_hash(pixels)
        mirrored[rows] = perceptual_hash(pixels.flip(3))
        contrasts[rows] = contrasts_of(pixels)
    return HashedSet(codes, mirrored, contrasts, labels, where)
