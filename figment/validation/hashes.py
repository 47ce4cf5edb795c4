"""Perceptual hashes of whole sets: of a pool's images, kept beside it, and of real pictures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from figment.datasets.labelled import StreamedImages
from figment.synthesis.pool import Pool
from figment.validation.duplicates import WORDS, perceptual_hash
from figment.validation.features import FeatureStore

TOGETHER = 256  # images hashed at a time


class HashStore(FeatureStore):
    """Codes (4,) of images, in ``hashes/`` beside the pool, a file a shard; as signed integers, which torch can hold."""

    what = "perceptual hashes"

    def __init__(self, pool: Pool):
        self.pool, self.batch_size = pool, TOGETHER
        self.folder = pool.folder.parent / "hashes"

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[np.ndarray]:
        return list(perceptual_hash(pixels).view(np.int64))

    def codes(self, image_ids: Iterable[str]) -> dict[str, np.ndarray]:
        """The code of each image, by id."""
        self.complete()
        return {i: code.numpy().view(np.uint64) for ids, codes in self.read(image_ids) for i, code in zip(ids, codes)}  # noqa: B905


@dataclass(frozen=True)
class HashedSet:
    """Real pictures as the gates see them: ``codes`` and ``mirrored`` (N, 4), ``contrasts`` and ``labels`` (N,)."""

    codes: np.ndarray
    mirrored: np.ndarray
    contrasts: np.ndarray
    labels: np.ndarray


def hash_set(images: StreamedImages) -> HashedSet:
    """Hashes of a set, whether or not memory holds its pictures. Contrast is the mean over channels of the pixels' standard
    deviation in [0, 1], as of generated images."""
    codes, mirrored = (np.empty((len(images), WORDS), np.uint64) for _ in range(2))
    contrasts = np.empty(len(images))
    for rows, part in images.parts():
        codes[rows.numpy()] = perceptual_hash(part.pixels)
        mirrored[rows.numpy()] = perceptual_hash(part.pixels.flip(3))
        contrasts[rows.numpy()] = (part.pixels.float() / 255).flatten(2).std(2).mean(1)
    return HashedSet(codes, mirrored, contrasts, torch.as_tensor(images.labels).numpy())
