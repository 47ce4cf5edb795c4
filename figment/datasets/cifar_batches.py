"""CIFAR-10/100 "python version" batches, read without pickle's arbitrary code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from figment import safe_pickle
from figment.errors import InputError
from figment.text import reason_of, shown


def load(path: Path) -> dict[bytes, Any]:
    return safe_pickle.load(path, "a CIFAR python batch", encoding="bytes")


def files(path: Path, split: str) -> list[Path]:
    if not path.is_dir():
        return []
    ten = sorted(path.rglob("data_batch_*" if split == "train" else "test_batch"))
    return ten or sorted(p for p in path.rglob(split) if p.is_file())


def names_file(batch: Path) -> Path | None:
    """The file with the classes' names beside a batch."""
    return next((batch.parent / m for m in ("batches.meta", "meta") if (batch.parent / m).is_file()), None)


@dataclass(frozen=True)
class Batch:
    """One batch file."""

    file: Path
    names: Sequence[str]

    def read(self, rows: Sequence[int]) -> list[tuple[str, Image.Image]]:
        pixels = _pixels(load(self.file), self.file)
        return [(f"{self.file} row {row}", Image.fromarray(pixels[row])) for row in rows]


def chunks(path: Path, split: str) -> list[Batch]:
    """The batches of a split. Raises InputError for a file that is not one, or a label without a name."""
    found = []
    for file in files(path, split):
        batch = load(file)
        meta_file = names_file(file)
        if meta_file is None:
            raise InputError(f"{file.parent}: batches.meta (or meta) is missing; it holds the class names")
        meta = load(meta_file)
        try:
            labels = list(batch[b"labels" if b"labels" in batch else b"fine_labels"])
            names = [n.decode() for n in meta[b"label_names" if b"label_names" in meta else b"fine_label_names"]]
            for row, label in enumerate(labels):
                if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < len(names):
                    raise InputError(
                        f"{file} row {row}: label {_number(label)} is outside the {len(names)} names known"
                    )
            if len(_pixels(batch, file)) != len(labels):
                raise InputError(f"{file}: {len(labels)} labels, but another number of images")
        except InputError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{file}: not a CIFAR python batch ({reason_of(error)})") from error
        found.append(Batch(file, [names[label] for label in labels]))
    return found


def _pixels(batch: dict[bytes, Any], file: Path) -> np.ndarray:
    """(N, 32, 32, 3) uint8."""
    try:
        data = np.asarray(batch[b"data"])
        if data.dtype.kind not in "ui" or (data.size and not 0 <= data.min() <= data.max() <= 255):
            raise ValueError(f"pixels of type {data.dtype}, or not from 0 to 255")
        return data.astype(np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{file}: not a CIFAR python batch ({reason_of(error)})") from error


def _number(label: object) -> str:
    return str(label) if isinstance(label, np.generic) else shown(label)
