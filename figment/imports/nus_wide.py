"""``nus``: the arrays of NUS-WIDE's zero-shot release, as "Diverse and Tailored Image Generation" writes them of what it made:
``formatted_syn_labels_filtered.npy`` (N, C) of 0 and 1, and ``formatted_syn_images_filtered.npy`` (N) of file names.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from figment.datasets.multilabel import check_file_name
from figment.datasets.nus_wide import read_array
from figment.errors import InputError
from figment.image_files import BYTES
from figment.imports.contract import Options
from figment.imports.images import Item, images_importer
from figment.reading import LARGE, name_of, read_bytes, read_text

NAMES = ("Tag_all/all_labels.txt", "all_labels.txt")
FOLDERS = ("", "images", "syn_images", "syn_image")


def _one(source: Path, what: str) -> Path:
    """The array of labels or of images in a folder."""
    found = sorted(source.glob(f"*{what}*.npy")) if source.is_dir() else []
    synthetic = [file for file in found if "syn" in file.name] or found
    if len(synthetic) != 1:
        raise InputError(
            f"{name_of(source)}: holds {len(synthetic)} files *{what}*.npy; give the folder of formatted_syn_labels_filtered.npy "
            "and formatted_syn_images_filtered.npy"
        )
    return synthetic[0]


def _first(source: Path, names: tuple[str, ...]) -> list[Path]:
    """These names in a folder and in the three above it."""
    above = [source, *source.resolve().parents[:3]]
    return [place / name for place in above for name in names]


def _items(source: Path, options: Options) -> Iterator[Item]:
    target_file, name_file = _one(source, "labels"), _one(source, "images")
    listed = options.labels or next((file for file in _first(source, NAMES) if file.is_file()), None)
    if listed is None:
        raise InputError(f"{name_of(source)}: no all_labels.txt at or above it names the columns; give --labels")
    lines = read_text(listed, "the classes' names, one a line", LARGE).split("\n")
    classes = [line.strip() for line in lines if line.strip()]
    targets, names = read_array(target_file), read_array(name_file)
    if targets.ndim != 2 or names.ndim != 1 or targets.shape != (len(names), len(classes)):
        raise InputError(
            f"{target_file}: has shape {targets.shape}, but {name_file.name} has {names.shape} and {listed.name} "
            f"{len(classes)} names; expected (images, names)"
        )
    if targets.dtype.kind not in "biuf" or names.dtype.kind not in "US":
        raise InputError(
            f"{source}: arrays of {targets.dtype} and {names.dtype}; expected numbers, and text in the images'"
        )
    places = [options.images] if options.images else _first(source, FOLDERS)
    folder = None
    for row, raw in enumerate(names):
        name = str(raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw).strip().replace("\\", "/")
        where = f"{name_file}: image {row + 1}"
        check_file_name(name, where)
        folder = folder or next((place for place in places if (place / name).is_file()), None)
        if folder is None:
            looked = ", ".join(dict.fromkeys(map(name_of, places)))
            raise InputError(f"{where}, {name}, is not below {looked}; give --images")
        shown = tuple(classes[column] for column in np.flatnonzero(np.asarray(targets[row]) > 0))
        yield Item(where, read_bytes(folder / name, "an image", BYTES, "a readable image"), shown)


IMPORTER = images_importer(
    "nus",
    "the folder of formatted_syn_labels_filtered.npy and formatted_syn_images_filtered.npy",
    _items,
    "images",
    "labels",
)
