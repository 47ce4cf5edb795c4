"""``parquet``: as on the Hugging Face Hub: ``image`` (or ``img``) and ``label``, or a list ``labels``; a caption where there is
one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from figment.datasets import hub_parquet
from figment.datasets.hub_parquet import RowGroup
from figment.errors import InputError
from figment.image_files import open_parquet
from figment.imports.contract import Options
from figment.imports.images import Item, images_importer
from figment.reading import name_of

CAPTIONS = ("caption", "prompt", "text")
ROWS = 256  # in memory


def _items(source: Path, _: Options) -> Iterator[Item]:
    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{name_of(source)}: holds no .parquet file; give one, or a folder of them")
    for file in files:
        schema = open_parquet(file).schema_arrow
        several = "labels" in schema.names and pa.types.is_list(schema.field("labels").type)
        caption = next((name for name in CAPTIONS if name in schema.names), None)
        found: Sequence[tuple[RowGroup, Sequence[Sequence[str]]]] = (
            hub_parquet.tagged(file, "all")
            if several
            else [(group, [(name,) for name in group.names]) for group in hub_parquet.chunks(file, "all")]
        )
        for group, labels in found:
            captions = hub_parquet.column(file, group.group, caption) if caption else [""] * len(labels)
            for first in range(0, len(labels), ROWS):
                rows = range(first, min(first + ROWS, len(labels)))
                for row, (where, data) in zip(rows, group.read(rows), strict=True):
                    said = captions[row]
                    yield Item(where, data, tuple(labels[row]), said if isinstance(said, str) else "")


IMPORTER = images_importer("parquet", "a Parquet file of the Hugging Face Hub's form, or a folder of them", _items)
