"""Parquet as on the Hugging Face Hub: an ``image`` or ``img`` column of ``{bytes, path}`` and a ``label``, or, where an image
has several, a list ``labels``."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from figment.errors import InputError
from figment.image_files import open_parquet
from figment.reading import read_text
from figment.text import reason_of, shown

IMAGES = ("image", "img")
LABELS = ("label", "fine_label", "object")
FAULTS = (pa.ArrowException, OSError, ValueError, LookupError, OverflowError)  # what damaged files make pyarrow raise


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file; ``first`` is the number of its first row in the file."""

    file: Path
    group: int
    first: int
    image: str  # its column
    names: Sequence[str]

    def read(self, rows: Sequence[int]) -> list[tuple[str, bytes]]:
        try:
            table = open_parquet(self.file).read_row_group(self.group, columns=[self.image], use_threads=False)
            records = table[self.image].take(list(rows)).to_pylist()
        except FAULTS as error:
            raise _damaged(self.file, error) from error
        found = []
        for row, record in zip(rows, records, strict=True):
            where = f"{self.file} row {self.first + row}"
            data = record.get("bytes") if isinstance(record, dict) else record
            if not isinstance(data, bytes):
                raise InputError(f"{where}: {self.image} holds no bytes; expected the encoded image itself, not a path")
            found.append((where, data))
        return found


def files(path: Path, split: str) -> list[Path]:
    """The Parquet files of a split: those below ``path`` that are called as the split, alone or with a number after it
    (``test-00000-of-00002-1a2b.parquet``); a single file is a test set."""
    if path.is_file():
        return [path] if split != "train" else []
    named = re.compile(rf"{split}([-_.]?\d.*)?\.parquet")
    return sorted(p for p in path.rglob("*.parquet") if named.fullmatch(p.name))


def has_images(file: Path) -> bool:
    """Whether a Parquet file can be read and has a column of images."""
    try:
        return any(name in IMAGES for name in open_parquet(file).schema_arrow.names)
    except InputError:
        return False


def chunks(path: Path, split: str) -> list[RowGroup]:
    """The row groups of a split, with the classes' names. Raises InputError for a file, column or label that is amiss."""
    return [
        replace(group, names=[resolve(value, names, where) for value, where in values])
        for group, values, names in _groups(path, split, LABELS)
    ]


def unlabelled(files: Sequence[Path]) -> list[RowGroup]:
    """The row groups of files that need no label; an image's name is its class's where the file says it, else "". Raises
    InputError for a file or column that is amiss."""
    found = []
    for file in files:
        table = open_parquet(file)
        known, first = table.schema_arrow.names, 0
        image = next((c for c in IMAGES if c in known), None)
        label = next((c for c in LABELS if c in known), None)
        if image is None:
            raise InputError(f"{file}: columns are {', '.join(known)}; expected image (or img)")
        names = class_names(table.schema_arrow, label) or sidecar_names(file) if label else []
        for number in range(table.num_row_groups):
            rows = table.metadata.row_group(number).num_rows
            values = column(file, number, label) if label else [None] * rows
            shown_as = [names[v] if isinstance(v, int) and 0 <= v < len(names) else v for v in values]
            found.append(RowGroup(file, number, first, image, [v if isinstance(v, str) else "" for v in shown_as]))
            first += rows
    return found


def tagged(path: Path, split: str) -> list[tuple[RowGroup, list[list[str]]]]:
    """The row groups of a split, and of every image the names in its list of ``labels``. Raises InputError as ``chunks``."""
    found = []
    for group, values, names in _groups(path, split, ("labels",)):
        tags = []
        for value, where in values:
            if not isinstance(value, list):
                raise InputError(
                    f"{where}: labels is {shown(value)}; expected a list of names, empty if nothing is shown"
                )
            tags.append([resolve(label, names, where) for label in value])
        found.append((group, tags))
    return found


def _groups(
    path: Path, split: str, columns: Sequence[str]
) -> Iterator[tuple[RowGroup, list[tuple[object, str]], list[str]]]:
    """(a row group without names, (value, where it stands) of the first of ``columns`` that the file has, classes' names)."""
    for file in files(path, split):
        table = open_parquet(file)
        known = table.schema_arrow.names
        image = next((c for c in IMAGES if c in known), None)
        label = next((c for c in columns if c in known), None)
        if image is None or label is None:
            raise InputError(f"{file}: columns are {', '.join(known)}; expected image (or img) and {columns[0]}")
        names = class_names(table.schema_arrow, label) or sidecar_names(file)
        first = 0
        for number, values in enumerate(_columns(table, label, file)):
            where = [(value, f"{file} row {first + row}") for row, value in enumerate(values)]
            yield RowGroup(file, number, first, image, ()), where, names
            first += len(values)


def column(file: Path, group: int, name: str) -> list:
    """A column's values of one row group."""
    try:
        return open_parquet(file).read_row_group(group, columns=[name])[name].to_pylist()
    except FAULTS as error:
        raise _damaged(file, error) from error


def _columns(table: pq.ParquetFile, column: str, file: Path) -> Iterator[list]:
    """One column's values of every row group."""
    for group in range(table.num_row_groups):
        try:
            yield table.read_row_group(group, columns=[column])[column].to_pylist()
        except FAULTS as error:
            raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> InputError:
    return InputError(f"{file}: damaged Parquet ({reason_of(error)})")


def class_names(schema: pa.Schema, label: str) -> list[str]:
    """The names behind integer labels, from the metadata that ``datasets`` writes, as a list or as a mapping from "0", "1", ...;
    [] if there is none that says so."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):
        return []
    for field in ("info", "features", label):
        found = found.get(field) if isinstance(found, dict) else None
    if isinstance(found, list) and len(found) == 1:  # of a list of labels, as older versions write it
        found = found[0]
    elif isinstance(found, dict) and "feature" in found:  # as newer ones do
        found = found["feature"]
    found = found.get("names") if isinstance(found, dict) else None
    if isinstance(found, dict):
        found = [found.get(str(i)) for i in range(len(found))]
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else []


def sidecar_names(file: Path) -> list[str]:
    """Names from ``classes.txt`` beside the file, one a line; CIFAR-10's order where the folder is named after it."""
    listed = file.parent / "classes.txt"
    if listed.is_file():
        return read_text(listed, "the classes' names, one a line").rstrip("\n").split("\n")
    folders = " ".join(file.parts[-3:-1]).casefold().replace("-", "")
    return list(CIFAR10) if re.search(r"cifar10(?!0)", folders) else []


def resolve(value: object, names: list[str], where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    known = (
        f"the {len(names)} names known" if names else "no class names (put them, one a line, in classes.txt beside it)"
    )
    raise InputError(f"{where}: label {shown(value)} is outside {known}")


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
