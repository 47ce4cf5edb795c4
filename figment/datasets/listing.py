"""What there is to read, before any image is decoded: chunks of images, each with its class's name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from figment.errors import InputError
from figment.labels import LabelSpace, nearest
from figment.text import shown


class Chunk(Protocol):
    """Images that are read together: a Parquet row group, some files of a folder, a CIFAR batch."""

    @property
    def names(self) -> Sequence[str]:
        """The class of each image, as the data calls it."""

    def read(self, rows: Sequence[int]) -> Sequence[tuple[str, bytes | Image.Image]]:
        """(where, encoded or decoded image) of these rows."""


@dataclass(frozen=True)
class Listing:
    """Chosen images in order: ``places`` (N, 2) chunk and row within it, ``labels`` (N,) ids into a label space."""

    chunks: Sequence[Chunk]
    places: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> "Listing":
        return Listing(self.chunks, self.places[rows], self.labels[rows])

    def where(self, row: int) -> str:
        """What an image is called: its file, and its row there if it has one. Reads it."""
        chunk, place = self.places[row].tolist()
        return self.chunks[chunk].read([place])[0][0]


def join(listings: Sequence[Listing]) -> Listing:
    """The images of several listings, in their order."""
    starts = [0]
    for listing in listings:
        starts.append(starts[-1] + len(listing.chunks))
    return Listing(
        [chunk for listing in listings for chunk in listing.chunks],
        torch.cat([each.places + torch.tensor([at, 0]) for each, at in zip(listings, starts, strict=False)]),
        torch.cat([listing.labels for listing in listings]),
    )


def select(
    chunks: Sequence[Chunk], space: LabelSpace, per_class: int | None, where: str, complete: bool = True
) -> Listing:
    """The images of ``space``'s classes, ``per_class`` the first so many of each; those of classes that ``space``
    knows but did not choose are passed over.

    Raises InputError, with both sides, if a class (of a ``complete`` set) or all of them have no image, or if images have
    a class that ``space`` never heard of: a misspelled name would otherwise cost a class its images.
    """
    ids = {name: space.id_of(name) for name in {name for chunk in chunks for name in chunk.names}}
    seen = Counter[int]()
    places, labels = [], []
    for number, chunk in enumerate(chunks):
        for row, name in enumerate(chunk.names):
            label = ids[name]
            if label is None or (per_class is not None and seen[label] >= per_class):
                continue
            seen[label] += 1
            places.append((number, row))
            labels.append(label)
    absent = [name for i, name in enumerate(space.names) if not seen[i]] if complete or not seen else []
    strange = sorted(name for name, label in ids.items() if label is None and not space.knows(name))
    if absent or strange:
        raise InputError(_both_sides(where, space, absent, strange, [space.names[i] for i in sorted(seen)]))
    return Listing(chunks, torch.tensor(places, dtype=torch.long).reshape(-1, 2), torch.tensor(labels))


def _both_sides(where: str, space: LabelSpace, absent: list[str], strange: list[str], found: list[str]) -> str:
    parts = []
    if absent:
        parts.append(f"no image of {', '.join(absent)}; of the classes asked for it holds {', '.join(found) or 'none'}")
    if strange:
        hints = [
            f"{shown(name)} (nearest: {', '.join(nearest(name, space.names, 1)) or 'none'})" for name in strange[:10]
        ]
        more = f" and {len(strange) - 10} more" if len(strange) > 10 else ""
        parts.append(f"images of {', '.join(hints)}{more}, which is no known class")
    return f"{where}: {'; '.join(parts)}; rename them, add a synonym, or correct the classes"
