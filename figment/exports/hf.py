"""Parquet with the Hugging Face Hub's features, as ``datasets`` and ``figment.datasets.hub_parquet`` read it:
data/train-*.parquet with ``image``, ``label`` (or a list ``labels``), ``caption`` and ``image_id``."""

import json
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from figment.exports.samples import Classes, Sample

ROW_GROUP = 100  # images
FILE_BYTES = 400 << 20  # of images in a file, about
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def schema_of(classes: Classes) -> pa.Schema:
    """The columns, and in the metadata what ``datasets`` makes of them."""
    label: Any = {"names": list(classes.names), "_type": "ClassLabel"}
    column, kind = ("labels", pa.list_(pa.int64())) if classes.multi_label else ("label", pa.int64())
    text = {"dtype": "string", "_type": "Value"}
    features = {
        "image": {"_type": "Image"},
        column: {"feature": label, "_type": "Sequence"} if classes.multi_label else label,
        "caption": text,
        "image_id": text,
    }
    fields = [("image", IMAGE), (column, kind), ("caption", pa.string()), ("image_id", pa.string())]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)})


def write_hf(samples: Iterable[Sample], folder: Path, classes: Classes) -> None:
    """A file is full once it holds ``FILE_BYTES``; files get their names, which say how many there are, at the end."""
    schema, data, waiting = schema_of(classes), folder / "data", iter(samples)
    data.mkdir()
    size, written = FILE_BYTES, list[Path]()
    with ExitStack() as stack:
        while group := list(islice(waiting, ROW_GROUP)):
            if size >= FILE_BYTES:
                stack.close()
                size = 0
                written.append(data / f"{len(written)}.parquet")
                writer = stack.enter_context(pq.ParquetWriter(written[-1], schema, compression="none"))
            writer.write_table(_table(group, classes, schema))
            size += sum(len(sample.data) for sample in group)
    for number, file in enumerate(written):
        file.rename(data / f"train-{number:05}-of-{len(written):05}.parquet")


def _table(group: Iterable[Sample], classes: Classes, schema: pa.Schema) -> pa.Table:
    rows = [
        {
            "image": {"bytes": sample.data, "path": sample.image_id + sample.suffix},
            "label": None if classes.multi_label else sample.labels[0],
            "labels": list(sample.labels),
            "caption": sample.caption,
            "image_id": sample.image_id,
        }
        for sample in group
    ]
    return pa.Table.from_pylist(rows, schema)
