"""Images with any number of labels each, listed in memory and read when they are needed."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from figment.errors import InputError
from figment.image_files import read_image
from figment.labels import LabelSpace
from figment.text import shown

Split = Literal["train", "zsl", "gzsl"]


def split_ids(space: LabelSpace, split: Split) -> tuple[int, ...]:
    """The classes that a split of a zero-shot protocol is about: ``train`` the seen, ``zsl`` the unseen, ``gzsl`` all."""
    return {"train": space.seen_ids, "zsl": space.unseen_ids, "gzsl": tuple(range(len(space)))}[split]


@dataclass(frozen=True)
class MultiLabelSet:
    """``files`` (N) and their ``targets`` (N, C) bool over the classes of ``space``; each image has at least one."""

    files: tuple[Path, ...]
    targets: Tensor
    space: LabelSpace

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, rows: Sequence[int], size: int) -> Tensor:
        """(len(rows), 3, size, size) uint8. Squeezed to the square, not cropped: a label may be anywhere in the image."""
        images = []
        for row in rows:
            image = read_image(self.files[row])
            images.append(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def labelled_only(where: str, files: Sequence[Path], targets: np.ndarray, space: LabelSpace) -> MultiLabelSet:
    """The images that show at least one of ``space``'s classes; raises InputError if none does. Reads no file."""
    keep = np.flatnonzero(targets.any(1)).tolist()
    if not keep:
        raise InputError(
            f"{where}: empty, none of its {len(files)} images shows any of {len(space)} classes "
            f"({', '.join(space.names[:3])}, ...); check that the split and the classes belong together"
        )
    return MultiLabelSet(tuple(files[i] for i in keep), torch.from_numpy(targets[keep].astype(bool)), space)


def check_file_name(name: object, where: str) -> str:
    """``name`` if it can only mean a file below the images' folder."""
    if not isinstance(name, str) or not name or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        raise InputError(f"{where}: file name {shown(name)} is empty or not text; give a path such as 'val2014/1.jpg'")
    if len(name.encode()) > 1024 or any(len(part.encode()) > 255 for part in name.split("/")):
        raise InputError(
            f"{where}: file name {shown(name)} has {len(name):,} characters, more than a file system takes"
        )
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
        raise InputError(f"{where}: file name {name!r} leads out of the images' folder; give a path below it")
    return name


def first_there(root: Path, *candidates: str) -> Path:
    """The first of the ``candidates`` that exists below ``root``, else an InputError that names them."""
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    raise InputError(f"{root}: holds no {' or '.join(candidates)}; give the data set's folder, unpacked")
