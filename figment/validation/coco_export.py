"""A labelled multi-label set as others read it: a folder of pictures and a COCO json."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from figment import store
from figment.errors import InputError
from figment.files import atomic, write_json
from figment.images import decode
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.validation.multilabel import shown_labels

BATCH = 64  # pictures in memory
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


@dataclass(frozen=True)
class LabelledPicture:
    """An encoded picture (JPEG, PNG or WebP), under the id that names its file, and the names of the classes it shows."""

    image_id: str
    data: bytes
    labels: Sequence[str]


def export_run(output: Path, space: LabelSpace, folder: Path) -> Path:
    """``export_coco`` of the pictures that passed in the run whose files are below ``output``."""
    return export_coco(accepted_pictures(output / "verdicts.parquet", Pool(output / "images")), space, folder)


def accepted_pictures(verdicts: Path, pool: Pool) -> Iterator[LabelledPicture]:
    """Those of ``pool`` that passed, shard by shard, as what they are trained on as.

    Raises InputError if there are no verdicts of pictures with several labels, if none passed, or if one is not in the pool.
    """
    store.fetch(verdicts)
    if not verdicts.is_file() or "labels" not in pq.read_schema(verdicts).names:
        raise InputError(
            f"{verdicts}: holds no verdicts on pictures with several labels; run the config's pipeline (tailored, or "
            "semantic_diversity with generated pictures) up to its validation first"
        )
    waiting = shown_labels(pq.read_table(verdicts))
    if not waiting:
        raise InputError(f"{verdicts}: no picture passed, so there is none to export; lower the bar of 'acceptance'")
    for batch in pool.read(list(waiting), ["image_id", "image"], BATCH):
        for row in batch.to_pylist():
            yield LabelledPicture(row["image_id"], row["image"]["bytes"], waiting.pop(row["image_id"]))
    if waiting:
        raise InputError(
            f"{pool.folder}: {len(waiting)} accepted pictures are not there, such as {min(waiting):.12}; run the pipeline again"
        )


def export_coco(
    pictures: Iterable[LabelledPicture], space: LabelSpace, folder: Path, category_ids: Sequence[int] = ()
) -> Path:
    """Write ``folder``/images/ and ``folder``/annotations.json, and return the json's path. The json comes last.

    Bytes are written as they are. A label is an annotation whose box is the whole picture: where in it nobody knows. The
    category ids are those given, in the order of the space, else 1 .. C; image ids are 1 .. N in the order given.
    """
    ids = list(category_ids) or list(range(1, len(space) + 1))
    if len(ids) != len(space) or len(set(ids)) != len(ids):
        raise InputError(f"category_ids: {len(ids)} ids for {len(space)} classes; give each class an id of its own")
    images: list[dict] = []
    annotations: list[dict] = []
    written: set[str] = set()
    for picture in pictures:
        where = f"picture {picture.image_id!r}"
        if picture.image_id in written or not picture.image_id.isalnum():
            raise InputError(f"{where}: its id is there twice or not of letters and digits; it names the file")
        written.add(picture.image_id)
        columns = {column for name in picture.labels if (column := space.id_of(name)) is not None}
        if not columns or len(columns) != len(picture.labels):
            raise InputError(
                f"{where}: labels {list(picture.labels)} are empty, twice the same or not of the space's classes"
            )
        width, height = decode(picture.data, where).size
        name = picture.image_id + _suffix(picture.data, where)
        with atomic(folder / "images" / name) as partial:
            partial.write_bytes(picture.data)
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for column in sorted(columns):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": ids[column],
                    "bbox": [0, 0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": label.name} for i, label in zip(ids, space.labels, strict=True)]
    path = folder / "annotations.json"
    write_json(path, {"info": {}, "images": images, "annotations": annotations, "categories": categories})
    return path


def _suffix(data: bytes, where: str) -> str:
    with Image.open(io.BytesIO(data)) as image:
        if image.format not in SUFFIXES:
            raise InputError(f"{where}: is {image.format}; export {', '.join(SUFFIXES)}")
        return SUFFIXES[image.format]
