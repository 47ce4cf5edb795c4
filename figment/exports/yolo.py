"""Ultralytics' YOLO layout for detection: data.yaml, images/train/ and labels/train/ with a line ``class x y width height`` a
label, all relative to the image. A label's box is the whole image: where in it is not known."""

from collections.abc import Iterable
from pathlib import Path

import yaml

from figment.exports.samples import Classes, Sample

BOX = "0.5 0.5 1 1"


def write_yolo(samples: Iterable[Sample], folder: Path, classes: Classes) -> None:
    """Classes are numbered from 0. ``val`` in data.yaml, without which nothing is trained, has the same images until real ones
    take their place."""
    images, labels = folder / "images/train", folder / "labels/train"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for sample in samples:
        (images / f"{sample.image_id}{sample.suffix}").write_bytes(sample.data)
        lines = "".join(f"{label} {BOX}\n" for label in sample.labels)
        (labels / f"{sample.image_id}.txt").write_text(lines, encoding="utf-8")
    described = {"train": "images/train", "val": "images/train", "names": dict(enumerate(classes.names))}
    text = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
