"""One folder a class (ImageFolder), with or without a folder a split above."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figment.errors import InputError
from figment.image_files import BYTES, SUFFIXES, files_below, passed_over, warn_of_passed_over
from figment.reading import name_of, read_bytes

SPLITS = ("train", "test", "val", "validation")
CHUNK = 256
WRAPPERS = ("eurosat/2750", "2750")  # EuroSAT as it comes out of its archive


@dataclass(frozen=True)
class Files:
    """Some image files of one class."""

    files: Sequence[Path]
    names: Sequence[str]

    def read(self, rows: Sequence[int]) -> list[tuple[str, bytes]]:
        files = [self.files[row] for row in rows]
        return [(name_of(file), read_bytes(file, "an image", BYTES, "a readable image")) for file in files]


def chunks(path: Path, split: str | None) -> list[Files]:
    """The class folders' images in sorted order; they may lie deeper (``class/samples/1.png``).

    ``split`` None takes ``path`` itself as the folder of class folders. Otherwise folders without a split above them are
    test images: nothing may be trained on what measures it. Raises InputError for a class folder without an image
    that can be read.
    """
    path = next((path / inner for inner in WRAPPERS if (path / inner).is_dir()), path)
    split_above = split is not None and _has_splits(path)
    root = path / split if split_above and split else path
    if not root.is_dir() or (split == "train" and not split_above):
        return []
    warn_of_passed_over(root)
    found = []
    for folder in _folders(root):
        files = files_below(folder)
        if not files:
            raise InputError(
                f"{folder}: a class folder without an image{passed_over(folder)}; expected {', '.join(SUFFIXES)}; "
                "fill or remove it"
            )
        for first in range(0, len(files), CHUNK):
            part = files[first : first + CHUNK]
            found.append(Files(part, [folder.name] * len(part)))
    return found


def split_folders(path: Path) -> list[str]:
    """The folders right below ``path`` that are named as splits are."""
    return [folder.name for folder in _folders(path) if folder.name in SPLITS] if path.is_dir() else []


def _has_splits(path: Path) -> bool:
    """Whether the folders ``train``, ``test`` and so on are splits. They are classes if they hold no folders themselves, or if
    there are images in a folder beside them that is no split: a train is a class of CIFAR-100 and of COCO."""
    if not any(_folders(path / name) for name in SPLITS if (path / name).is_dir()):
        return False
    return not any(files_below(folder) for folder in _folders(path) if folder.name not in SPLITS)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
