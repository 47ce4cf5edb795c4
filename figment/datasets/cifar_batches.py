"""CIFAR-10/100 "python version" batches, read without pickle's arbitrary code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from figment import safe_pickle
from figment.errors import InputError


def load(path: Path) -> dict[bytes, Any]:
    return safe_pickle.load(path, "a CIFAR python batch", encoding="bytes")


def files(path: Path, split: str) -> list[Path]:
    if not path.is_dir():
        return []
    ten = sorted(path.rglob("data_batch_*" if split == "train" else "test_batch"))
    return ten or sorted(p for p in path.rglob(split) if p.is_file())


def examples(path: Path, split: str) -> Iterator[tuple[str, str, Image.Image]]:
    """(where, class name, picture)."""
    for file in files(path, split):
        batch = load(file)
        key = b"labels" if b"labels" in batch else b"fine_labels"
        meta_file = next((file.parent / m for m in ("batches.meta", "meta") if (file.parent / m).is_file()), None)
        if meta_file is None:
            raise InputError(f"{file.parent}: batches.meta (or meta) is missing; it holds the class names")
        meta = load(meta_file)
        names = [n.decode() for n in meta[b"label_names" if b"label_names" in meta else b"fine_label_names"]]
        try:
            pixels = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            rows = [(names[label], Image.fromarray(pixels[row])) for row, label in enumerate(batch[key])]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{file}: not a CIFAR python batch ({error!r})") from error
        for row, (name, picture) in enumerate(rows):
            yield f"{file} row {row}", name, picture
