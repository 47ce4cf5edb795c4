"""Real pictures with one label each, from the layouts people have them in, whole in memory as uint8.

``read_labelled`` recognises the layout: a Parquet file or a folder of them (as on the Hugging Face Hub), CIFAR's python
batches, or one folder a class.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from figment.datasets import cifar_batches, folders, hub_parquet
from figment.errors import InputError
from figment.images import decode, to_tensor
from figment.labels import LabelSpace


@dataclass(frozen=True)
class LabelledImages:
    """``pixels`` (N, 3, S, S) uint8 and ``labels`` (N,) ids into the label space they were read with."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> "LabelledImages":
        """The pictures at ``rows`` (M,), in that order."""
        return LabelledImages(self.pixels[rows], self.labels[rows])


def read_labelled(path: Path, split: str, space: LabelSpace, size: int, per_class: int | None = None) -> LabelledImages:
    """The pictures of ``space``'s classes in ``path``, at ``size`` px; others are passed over.

    ``split`` selects ``train`` or ``test`` where the layout knows it. ``per_class`` keeps the first so many of each.
    Class names are matched whatever their case, underscores or synonyms. Raises InputError if a class has no picture.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder; give the real pictures' Parquet, CIFAR batches or class folders"
        )
    pictures, ids, seen = [], [], Counter[int]()
    try:
        for where, name, data in _examples(path, split):
            label = space.id_of(name)
            if label is None or (per_class is not None and seen[label] >= per_class):
                continue
            picture = decode(data, where) if isinstance(data, bytes) else data
            pictures.append(to_tensor(picture, size))
            ids.append(label)
            seen[label] += 1
            if per_class is not None and len(ids) == per_class * len(space):
                break
    except PermissionError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    absent = [name for i, name in enumerate(space.names) if not seen[i]]
    if absent:
        found = [space.names[i] for i in sorted(seen)]
        raise InputError(
            f"{path} ({split}): no picture of {', '.join(absent)}; of the classes asked for it holds {', '.join(found) or 'none'}"
        )
    return LabelledImages(torch.stack(pictures), torch.tensor(ids))


def has_split(path: Path, split: str) -> bool:
    """Whether ``path`` holds any picture of this split. Pictures without a split are test pictures."""
    return path.exists() and next(_examples(path, split), None) is not None


def _examples(path: Path, split: str) -> Iterator[tuple[str, str, bytes | Image.Image]]:
    """(where, class name, encoded or decoded picture) of every example."""
    if path.is_file() or hub_parquet.files(path, split):
        return hub_parquet.examples(path, split)
    if cifar_batches.files(path, split):
        return cifar_batches.examples(path, split)
    return folders.examples(path, split)
