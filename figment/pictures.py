"""Where people keep pictures: files, folders of them, and Parquet as on the Hugging Face Hub."""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from figment.errors import InputError
from figment.images import decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw")  # pictures, too
COLUMNS = ("image", "img")
ROWS = 256  # of a Parquet file in memory at a time


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files that ``paths`` mean: itself for a file, all pictures and Parquet files below a folder, sorted. Says
    what other pictures it passes over.

    Raises InputError for a path that is not there and a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; give pictures, folders of them or Parquet files")
        below = [path] if path.is_file() else files_below(path, (*SUFFIXES, ".parquet"))
        others = "" if path.is_file() else passed_over(path)
        if not below:
            raise InputError(
                f"{path}: holds no picture{others}; expected files such as {', '.join(SUFFIXES[:3])} or .parquet"
            )
        if others:
            print(f"warning: {path}: not all can be read{others}; save those as JPEG", file=sys.stderr)
        found += below
    return found


def files_below(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """The files below a folder that end so, sorted. What is hidden, or lies in a hidden folder, is nobody's picture:
    macOS's ``._1.png``, a viewer's ``.thumbs/1.png``."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def passed_over(folder: Path) -> str:
    """`` (passed over: 2 .heic)`` for pictures below a folder of kinds that are not read, "" if there are none."""
    counts = Counter(path.suffix.lower() for path in files_below(folder, UNREAD))
    listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    return f" (passed over: {listed})" if listed else ""


def names_in(file: Path) -> list[str]:
    """What the pictures of a file are called: the path, or ``FILE:ROW`` for the rows of a Parquet file."""
    if file.suffix.lower() != ".parquet":
        return [str(file)]
    return [f"{file}:{row}" for row in range(_open(file).metadata.num_rows)]


class UnreadPictures(InputError):
    """Some pictures could not be read; what was asked of all the others is done."""

    def __init__(self, errors: Sequence[InputError], count: int):
        more = (
            f" (and {len(errors) - 1} more of {count} pictures, each with its error in its line)" if errors[1:] else ""
        )
        super().__init__(f"{errors[0]}{more}")


def read_pictures(file: Path) -> Iterator[Image.Image]:
    """The pictures of a file, RGB, in the order of ``names_in``. Raises InputError for what is no picture."""
    for found in try_pictures(file):
        if isinstance(found, InputError):
            raise found
        yield found


def try_pictures(file: Path) -> Iterator[Image.Image | InputError]:
    """The pictures of a file, RGB, in the order of ``names_in``, or why one is none. Raises InputError if the whole file is
    not what it should be."""
    if file.suffix.lower() != ".parquet":
        yield _tried(lambda: read_picture(file))
        return
    table = _open(file)
    columns = table.schema_arrow.names
    column = next((name for name in COLUMNS if name in columns), None)
    if column is None:
        raise InputError(f"{file}: columns are {', '.join(columns)}; expected pictures in 'image' or 'img'")
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
        raise InputError(f"{where}: {column} holds no bytes; expected the encoded picture, not a path")
    return decode(data, where)


def read_picture(file: Path) -> Image.Image:
    try:
        return decode(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); give the path of a picture") from error


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: not a readable Parquet file ({error})") from error
