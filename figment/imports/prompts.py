"""``prompts``: written elsewhere: a text file a pair of classes, CSV, Parquet or JSON lines, as one table."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from figment.files import sha256_file, sha256_folder
from figment.imports.contract import Found, Importer, Options
from figment.labels import LabelSpace
from figment.prompts.prompt_files import TABLE, check_rows, read_rows

USE = "name it in a config: `prompts: {{file: {0}}}` (tailored, few-shot)"


def _read(source: Path, folder: Path, options: Options) -> Found:
    space = LabelSpace.load(options.labels) if options.labels else None
    rows = check_rows(list(read_rows(source, space)), source)
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows]), folder / TABLE)
    digest = sha256_folder(source) if source.is_dir() else sha256_file(source)
    classes = {name for row in rows for name in row.labels}
    return Found(digest, {"prompts": len(rows), "classes": len(classes)}, USE, (), TABLE)


IMPORTER = Importer(
    "prompts", "a folder of text files, a CSV, Parquet or JSON lines", _read, frozenset({"name", "labels"})
)
