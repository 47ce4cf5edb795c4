"""WebDataset: train-NNNNNN.tar; the files of an image follow each other and have its id as their name up to the first dot."""

import io
import json
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from figment.exports.samples import Classes, Sample

SHARD_BYTES = 400 << 20  # of images in a file, about


def write_webdataset(samples: Iterable[Sample], folder: Path, classes: Classes) -> None:
    """Of every image ID.jpg (or .png, .webp), ID.txt with its prompt, ID.json with the names and the data set's ids of its
    classes, and ID.cls, the position of its class, where an image has one only. classnames.txt lists the names as JSON strings
    do, one a line."""
    names = (json.dumps(name, ensure_ascii=False)[1:-1] for name in classes.names)
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    size, number = SHARD_BYTES, -1
    with ExitStack() as stack:
        for sample in samples:
            if size >= SHARD_BYTES:
                stack.close()
                size, number = 0, number + 1
                tar = stack.enter_context(tarfile.open(folder / f"train-{number:06}.tar", "w"))
            said = {
                "image_id": sample.image_id,
                "caption": sample.caption,
                "labels": [classes.names[label] for label in sample.labels],
                "ids": [classes.ids[label] for label in sample.labels],
                "positions": list(sample.labels),
            }
            _add(tar, sample.image_id + sample.suffix, sample.data)
            _add(tar, f"{sample.image_id}.txt", sample.caption.encode())
            _add(tar, f"{sample.image_id}.json", json.dumps(said, ensure_ascii=False).encode())
            if not classes.multi_label:
                _add(tar, f"{sample.image_id}.cls", str(sample.labels[0]).encode())
            size += len(sample.data)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A file without a time or an owner, so that the same samples are the same archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
