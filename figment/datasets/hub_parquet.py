"""Parquet as on the Hugging Face Hub: an ``image`` or ``img`` column of ``{bytes, path}`` and a ``label``."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from figment.errors import InputError


def files(path: Path, split: str) -> list[Path]:
    """The Parquet files of a split: those below ``path`` whose name starts with the split's; a single file is a test set."""
    if path.is_file():
        return [path] if split == "test" else []
    return sorted(p for p in path.rglob("*.parquet") if p.name.startswith(split))


def examples(path: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
    for file in files(path, split):
        try:
            table = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, PermissionError):
                raise
            raise InputError(f"{file}: not a readable Parquet file ({error})") from error
        columns = table.schema_arrow.names
        image = next((c for c in ("image", "img") if c in columns), None)
        label = next((c for c in ("label", "fine_label", "object") if c in columns), None)
        if image is None or label is None:
            raise InputError(f"{file}: columns are {', '.join(columns)}; expected image (or img) and label")
        names = class_names(table.schema_arrow, label) or sidecar_names(file)
        batches = table.iter_batches(1024, columns=[image, label])
        row = 0
        while (batch := next_batch(batches, file)) is not None:
            for record in batch.to_pylist():
                where = f"{file} row {row}"
                data = record[image].get("bytes") if isinstance(record[image], dict) else record[image]
                if not isinstance(data, bytes):
                    raise InputError(
                        f"{where}: {image} holds no bytes; expected the encoded picture itself, not a path"
                    )
                yield where, resolve(record[label], names, where), data
                row += 1


def next_batch(batches: Iterator[pa.RecordBatch], file: Path) -> pa.RecordBatch | None:
    """The next batch of rows or None; a damaged page is the file's fault and said so."""
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: damaged Parquet ({error})") from error


def class_names(schema: pa.Schema, label: str) -> list[str]:
    """The names behind integer labels, from the metadata that ``datasets`` writes; [] if there is none."""
    info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
    return info.get("features", {}).get(label, {}).get("names", [])


def sidecar_names(file: Path) -> list[str]:
    """Names from ``classes.txt`` beside the file, one a line; CIFAR-10's order where the folder is named after it."""
    listed = file.parent / "classes.txt"
    if listed.is_file():
        return listed.read_text(encoding="utf-8").split("\n")
    return list(CIFAR10) if "cifar10" in file.parent.name.casefold().replace("-", "") else []


def resolve(value: object, names: list[str], where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    known = (
        f"the {len(names)} names known" if names else "no class names (put them, one a line, in classes.txt beside it)"
    )
    raise InputError(f"{where}: label {value!r} is outside {known}")


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
