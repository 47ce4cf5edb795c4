"""Images with tags, decoded once into files that the operating system pages in: sets larger than memory train as small
ones do.

A set is a folder with ``pixels.npy`` (N, 3, S, S) uint8 and ``targets.npy`` (N, C) int8: 1 shown, 0 not shown, -1 unknown.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from figment import store
from figment.errors import InputError
from figment.files import atomic
from figment.text import reason_of

NAMES = ("pixels.npy", "targets.npy")


@dataclass(frozen=True)
class TaggedImages:
    """``pixels`` (N, 3, S, S) uint8 and ``targets`` (N, C) int8 of 1, 0 and -1."""

    pixels: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def write_tagged(folder: Path, batches: Iterable[Tensor], targets: Tensor, size: int) -> None:
    """Write a set. ``batches`` of images (n, 3, S, S) uint8 come in the order of ``targets`` (N, C), one in memory at a
    time."""
    pixels, tags = (folder / name for name in NAMES)
    with atomic(pixels) as partial:
        table = open_memmap(partial, "w+", np.uint8, (len(targets), 3, size, size))
        done = 0
        for batch in batches:
            table[done : done + len(batch)] = batch.numpy()
            done += len(batch)
        if done != len(targets):
            raise ValueError(f"{folder}: {done} images for {len(targets)} rows of targets")
        table.flush()
    with atomic(tags) as partial, open(partial, "wb") as file:
        np.save(file, targets.to(torch.int8).numpy())


def read_tagged(folder: Path) -> TaggedImages:
    """The set in ``folder``; its pixels are read from disk as they are used."""
    store.fetch(*(folder / name for name in NAMES))
    try:
        pixels, targets = (np.load(folder / name, mmap_mode="c", allow_pickle=False) for name in NAMES)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: holds no {' and '.join(NAMES)} ({reason_of(error)}); run the pipeline again"
        ) from error
    return TaggedImages(torch.from_numpy(pixels), torch.from_numpy(np.array(targets)))
