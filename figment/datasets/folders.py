"""One folder a class (ImageFolder), with or without a folder a split above."""

from collections.abc import Iterator
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


def examples(path: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
    """(where, class name, encoded picture) in sorted order; pictures may lie deeper (``class/samples/1.png``).

    Folders without a split above them are test pictures: nothing may be trained on what measures it.
    """
    split_above = any((path / name).is_dir() for name in ("train", "test"))
    root = path / split if split_above else path
    if not root.is_dir() or (split == "train" and not split_above):
        return
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        for file in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield str(file), folder.name, file.read_bytes()
