"""A folder a class, as torchvision's ImageFolder and ``figment.datasets.folders`` read it. An image of several classes is in the
folder of each. metadata.jsonl says what an image shows and was made from, as the Hugging Face Hub reads it."""

import json
from collections.abc import Iterable
from pathlib import Path

from figment.exports.samples import Classes, Sample
from figment.names import file_names

METADATA = "metadata.jsonl"


def write_folder(samples: Iterable[Sample], folder: Path, classes: Classes) -> None:
    """CLASS/ID.SUFFIX; classes without an image have no folder."""
    folders = file_names(classes.names)
    with open(folder / METADATA, "w", encoding="utf-8") as lines:
        for sample in samples:
            names = [classes.names[label] for label in sample.labels]
            for name in names:
                file = folder / folders[name] / f"{sample.image_id}{sample.suffix}"
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(sample.data)
                line = {"file_name": file.relative_to(folder).as_posix(), "labels": names, "caption": sample.caption}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
