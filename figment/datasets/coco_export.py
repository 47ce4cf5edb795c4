"""A labelled multi-label set as others read it: a folder of pictures and a COCO json."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from figment.errors import InputError
from figment.files import atomic, write_json
from figment.images import decode
from figment.labels import LabelSpace

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


@dataclass(frozen=True)
class LabelledPicture:
    """An encoded picture (JPEG, PNG or WebP), under the id that names its file, and the names of the classes it shows."""

    image_id: str
    data: bytes
    labels: Sequence[str]


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
