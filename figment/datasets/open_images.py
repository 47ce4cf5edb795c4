"""Open Images' image-level labels: csv files of ``ImageID, Source, LabelName, Confidence``, LabelName a code such as
/m/0bt9lr, and a csv of ``LabelName, DisplayName`` that says what each code is called.

The data set's own files, below one folder or its annotations/, are told by the end of their names, whatever release they
are of: (oidv6-)train-annotations-human-imagelabels.csv and -machine-, test- likewise, class-descriptions.csv. Images lie in
train/ and test/ as IMAGEID.jpg.

Labels are matched by name, never by order. Millions of images stay a list of triples; ``targets`` lays out those asked for.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from figment.datasets.multilabel import Split, split_ids
from figment.errors import InputError
from figment.image_files import read_image
from figment.images import squash
from figment.labels import LabelSpace, nearest
from figment.reading import why_unreadable
from figment.text import reason_of

COLUMNS = ["ImageID", "LabelName", "Confidence"]
IMAGE_ID = "[0-9a-f]{16}"
PARTS = {"train": "train", "zsl": "test", "gzsl": "test"}
CHUNK = 1_000_000  # rows in memory at a time


@dataclass(frozen=True)
class ImageTags:
    """What is known of which image: row k says that label ``label[k]`` is (1) or is not (0) in image ``image[k]``.

    ``images`` (N) are the ids, as numbers, sorted, of those of which anything is known; ``image`` (K) and ``label`` (K) are
    positions in ``images`` and ``names``, sorted, each pair once; ``present`` (K) is boolean.
    """

    names: tuple[str, ...]
    images: np.ndarray
    image: np.ndarray
    label: np.ndarray
    present: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def image_id(self, image: int) -> str:
        """16 hexadecimal digits, the image file's name."""
        return f"{self.images[image]:016x}"

    def targets(self, images: Sequence[int] | np.ndarray) -> Tensor:
        """(n, C) int8 for positions in ``images``: 1 present, 0 verified absent, -1 unknown."""
        table = torch.full((len(images), len(self.names)), -1, dtype=torch.int8)
        starts = np.searchsorted(self.image, images, "left")
        counts = np.searchsorted(self.image, images, "right") - starts
        rows = np.repeat(np.arange(len(images)), counts)
        facts = np.arange(len(rows)) + np.repeat(starts - np.cumsum(counts) + counts, counts)
        table[rows, self.label[facts]] = torch.from_numpy(self.present[facts].astype(np.int8))
        return table

    def showing(self, labels: Sequence[int]) -> np.ndarray:
        """Positions of the images in which any of ``labels`` is present."""
        return np.unique(self.image[self.present & np.isin(self.label, labels)])

    def with_images(self, folder: Path) -> np.ndarray:
        """Positions of the tagged images that lie in ``folder`` as IMAGEID.jpg. Raises InputError if none does."""
        there = [int(path.stem, 16) for path in folder.glob("*.jpg") if re.fullmatch(IMAGE_ID, path.stem)]
        found = np.flatnonzero(np.isin(self.images, np.array(there, np.uint64)))
        if not len(found):
            example = f"{self.image_id(0)}.jpg"
            raise InputError(f"{folder}: no image of the {len(self)} tagged images; expected IMAGEID.jpg, as {example}")
        return found

    def pixels(self, images: Sequence[int] | np.ndarray, folder: Path, size: int) -> Tensor:
        """(n, 3, size, size) uint8 of images in ``folder``, squashed: no label is cropped away."""
        loaded = []
        for image in images:
            path = folder / f"{self.image_id(image)}.jpg"
            if not path.is_file():
                raise InputError(f"{path}: no such image; take the images that with_images() finds")
            loaded.append(squash(read_image(path), size))
        return torch.stack(loaded)


def read_open_images_split(root: Path, split: Split, space: LabelSpace) -> tuple[list[Path], Tensor]:
    """Images of a zero-shot split and targets (N, C) int8 of 1, 0 and -1 over all of ``space``: those that lie in the folder
    and show any of the split's classes (``train`` the seen, ``zsl`` the unseen, ``gzsl`` all). Of other classes a split says
    nothing."""
    part, ids = PARTS[split], split_ids(space, split)
    folder = root / "annotations" if (root / "annotations").is_dir() else root
    tags = sorted(folder.glob(f"*{part}-annotations-*-imagelabels.csv"))
    descriptions = sorted(folder.glob("*class-descriptions.csv"))
    if not tags or len(descriptions) != 1:
        raise InputError(
            f"{folder}: holds {len(tags)} {part}-annotations-*-imagelabels.csv and {len(descriptions)} "
            "class-descriptions.csv; expected one or more of the first and one of the second"
        )
    found = read_open_images(tags, descriptions[0], space)
    images = np.intersect1d(found.with_images(root / part), found.showing(ids))
    if not len(images):
        raise InputError(
            f"{root / part}: no image there shows any of {len(ids)} classes ({', '.join(space.names[i] for i in ids[:3])}, "
            "...); check that the images and the classes belong together"
        )
    targets = found.targets(images)
    targets[:, [i for i in range(len(space)) if i not in set(ids)]] = -1
    return [root / part / f"{found.image_id(image)}.jpg" for image in images], targets


def read_open_images(
    tags: Sequence[Path], descriptions: Path, labels: LabelSpace, min_confidence: float = 0.5
) -> ImageTags:
    """What the files ``tags`` say of ``labels``; rows of other labels are passed over.

    A human says 1 or 0. A machine says how sure it is: from ``min_confidence`` a label counts as present, else, unless 0, as
    unknown. Where rows differ, the label is present. Raises InputError for a label that no code stands for, or a row that is
    not one.
    """
    codes = read_codes(descriptions, labels)
    parts = [part for file in tags for part in _rows(file, codes, min_confidence)]
    ids, label, present = (
        (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else [np.empty(0)] * 3
    )
    if not len(ids):
        files, asked = ", ".join(map(str, tags)) or "tags", ", ".join(labels.names[:5])
        raise InputError(f"{files}: say nothing of {asked}; is it the right split?")
    images, image = np.unique(ids, return_inverse=True)
    order = np.lexsort((present, label, image))
    image, label, present = image[order], label[order], present[order]
    last = np.append((np.diff(image) != 0) | (np.diff(label) != 0), True)  # of each pair, where present comes last
    return ImageTags(labels.names, images, image[last], label[last], present[last])


def read_codes(descriptions: Path, labels: LabelSpace) -> dict[str, int]:
    """Which label each code stands for. Several codes may bear one name; every label needs at least one."""
    try:
        if why := why_unreadable(descriptions):
            raise OSError(why)
        table = pd.read_csv(descriptions, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(
            f"{descriptions}: not readable ({reason_of(error)}); expected a csv of LabelName, DisplayName"
        ) from error
    if table.shape[1] != 2:
        raise InputError(f"{descriptions}: has {table.shape[1]} columns; expected two, LabelName and DisplayName")
    found = {code: labels.id_of(name) for code, name in zip(table[0], table[1], strict=True)}
    codes = {code: label for code, label in found.items() if label is not None}
    missing = [name for i, name in enumerate(labels.names) if i not in set(codes.values())]
    if missing:
        hint = ", ".join(nearest(missing[0], table[1]))
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{descriptions}: no code is called {missing[0]!r}{more}; the nearest names are {hint or 'none'}"
        )
    return codes


def _rows(
    file: Path, codes: dict[str, int], min_confidence: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ids, labels' positions, presence: of the rows of one file that say something of the labels, a chunk at a time."""
    try:
        if why := why_unreadable(file):
            raise OSError(why)
        for chunk in pd.read_csv(file, usecols=COLUMNS, dtype=str, keep_default_na=False, chunksize=CHUNK):
            rows = chunk[chunk["LabelName"].isin(codes)]
            confidence = pd.to_numeric(rows["Confidence"], errors="coerce")
            _check(file, rows["Confidence"], confidence.between(0, 1), "Confidence", "a number in [0, 1]")
            _check(file, rows["ImageID"], rows["ImageID"].str.fullmatch(IMAGE_ID), "ImageID", "16 hexadecimal digits")
            known = (confidence == 0) | (confidence >= min_confidence)
            ids = np.frombuffer(bytes.fromhex("".join(rows["ImageID"][known])), ">u8").astype(np.uint64)
            yield ids, rows["LabelName"][known].map(codes).to_numpy(np.int64), (confidence[known] > 0).to_numpy(bool)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: not readable ({reason_of(error)}); expected a csv with columns {', '.join(COLUMNS)}"
        ) from error


def _check(file: Path, values: pd.Series, good: pd.Series, column: str, expected: str) -> None:
    """The line of a file's row is its position plus two: one for the header, one because people count from 1."""
    if not good.all():
        at = values.index[~good.to_numpy()][0]
        raise InputError(f"{file} line {at + 2}: {column} is {values[at]!r}; expected {expected}")
