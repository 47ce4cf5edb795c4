"""Where people keep images: files, folders of them, and Parquet as on the Hugging Face Hub."""

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from figment.errors import InputError
from figment.images import READABLE, decode
from figment.reading import name_of, printable, read_bytes, why_unreadable
from figment.text import reason_of

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # whatever the tools around set for everybody

SUFFIXES: tuple[str, ...] = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".mpo",
    ".png",
    ".apng",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
)
SUFFIXES += (".ppm", ".pgm", ".pbm", ".pnm", *([".avif"] if "AVIF" in READABLE else []))
UNREAD = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw"} - set(SUFFIXES)
BYTES = 1 << 30  # of an image file, at most
COLUMNS = ("image", "img")
ROWS = 256  # of a Parquet file in memory at a time


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files that ``paths`` mean: itself for a file, all images and Parquet files below a folder, sorted. Says
    what other images it passes over.

    Raises InputError for a path that is not there and a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not os.path.exists(path):
            raise InputError(f"{name_of(path)}: no such file or folder; give images, folders of them or Parquet files")
        below = files_below(path, (*SUFFIXES, ".parquet")) if path.is_dir() else [path]
        others = passed_over(path) if path.is_dir() else ""
        if not below:
            raise InputError(
                f"{path}: holds no image{others}; expected files such as {', '.join(SUFFIXES[:3])} or .parquet"
            )
        if others:
            print(f"warning: {path}: not all can be read{others}; save those as JPEG", file=sys.stderr)
        found += below
    return found


def files_below(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """The files below a folder that end so, sorted; linked folders are entered, each real folder once. Hidden files and
    folders are no images of the user's: macOS's ``._1.png``, a viewer's ``.thumbs/1.png``."""
    return sorted(path for path in _walk(folder) if path.suffix.lower() in suffixes and not why_unreadable(path))


def passed_over(folder: Path) -> str:
    """`` (passed over: 2 .heic such as a.heic, 1 that is a named pipe such as b.jpg)`` for what looks like an image below a
    folder and is not read, "" if there is none: other formats, files without a suffix, broken links, pipes and devices."""
    found: dict[str, list[str]] = {}
    for path in _walk(folder):
        suffix, why = path.suffix.lower(), why_unreadable(path)
        if why and (suffix in UNREAD or suffix in SUFFIXES or not suffix):
            found.setdefault(f"({why})", []).append(path.name)
        elif suffix in UNREAD or not suffix:
            found.setdefault(suffix or "without a suffix", []).append(path.name)
    listed = (f"{len(names)} {what} such as {name_of(min(names))}" for what, names in sorted(found.items()))
    return f" (passed over: {', '.join(listed)})" if found else ""


def warn_of_passed_over(folder: Path) -> None:
    """Log, once a process for a folder and what it holds, what ``passed_over`` says."""
    if told := passed_over(folder):
        _warn(f"{name_of(folder)}: not all can be read{told}; save images as JPEG or PNG")


@cache
def _warn(sentence: str) -> None:
    log.warning(sentence)


def _walk(folder: Path) -> Iterator[Path]:
    """What is no folder below a folder. Raises InputError for a folder that cannot be entered: its images would be lost."""
    waiting, seen = [folder], set()
    while waiting:
        inner = waiting.pop(0)
        try:
            found = inner.stat()
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            entries = sorted(os.scandir(inner), key=lambda entry: (entry.is_symlink(), entry.name))
            folders = [os.path.isdir(entry) for entry in entries]
        except OSError as error:
            raise InputError(f"{name_of(inner)}: cannot be read ({reason_of(error)}); check its permissions") from error
        for entry, is_folder in zip(entries, folders, strict=True):
            if entry.name.startswith("."):
                continue
            path = inner / entry.name
            if not is_folder:
                yield path
            elif entry.is_symlink():
                waiting.append(path)  # after all real folders of its level
            else:
                waiting.insert(0, path)


def names_in(file: Path) -> list[str]:
    """What the images of a file are called: the path, or ``FILE:ROW`` for the rows of a Parquet file."""
    if file.suffix.lower() != ".parquet":
        return [printable(file)]
    return [f"{printable(file)}:{row}" for row in range(open_parquet(file).metadata.num_rows)]


class UnreadImages(InputError):
    """Some images could not be read; what was asked of all the others is done."""

    def __init__(self, errors: Sequence[InputError], count: int):
        more = f" (and {len(errors) - 1} more of {count} images, each with its error in its line)" if errors[1:] else ""
        super().__init__(f"{errors[0]}{more}")


def read_images(file: Path) -> Iterator[Image.Image]:
    """The images of a file, RGB, in the order of ``names_in``. Raises InputError for what is no image."""
    for found in try_images(file):
        if isinstance(found, InputError):
            raise found
        yield found


def try_images(file: Path) -> Iterator[Image.Image | InputError]:
    """The images of a file, RGB, in the order of ``names_in``, or why one is none. Raises InputError if the whole file is
    not what it should be."""
    if file.suffix.lower() != ".parquet":
        yield _tried(lambda: read_image(file))
        return
    table = open_parquet(file)
    columns = table.schema_arrow.names
    column = next((name for name in COLUMNS if name in columns), None)
    if column is None:
        raise InputError(f"{file}: columns are {', '.join(columns)}; expected images in 'image' or 'img'")
    row = 0
    for batch in table.iter_batches(ROWS, columns=[column]):
        for value in batch.column(0).to_pylist():
            yield _tried(partial(_decode_cell, value, f"{file}:{row}", column))
            row += 1


def _tried(read: Callable[[], Image.Image]) -> Image.Image | InputError:
    try:
        return read()
    except InputError as error:
        return error


def _decode_cell(value: Any, where: str, column: str) -> Image.Image:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise InputError(f"{where}: {column} holds no bytes; expected the encoded image, not a path")
    return decode(data, where)


def read_image(file: Path) -> Image.Image:
    return decode(read_bytes(file, "an image", BYTES, "a readable image"), name_of(file))


def open_parquet(file: Path) -> pq.ParquetFile:
    """Raises InputError for what is no Parquet file, one sentence whatever it is."""
    why: object = why_unreadable(file)
    if not why:
        try:
            table = pq.ParquetFile(file)
            table.schema_arrow.names  # noqa: B018, fails on names that are no UTF-8
            return table
        except (pa.ArrowException, OSError, ValueError) as error:
            why = reason_of(error)
    raise InputError(
        f"{name_of(file)}: not a readable Parquet file ({why}); expected images as on the Hugging Face Hub"
    )
