"""MS-COCO's format: images/ and annotations.json, as pycocotools and ``figment.datasets.coco`` read it."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from figment.exports.samples import Classes, Sample, header

ANNOTATIONS = "annotations.json"


def write_coco(samples: Iterable[Sample], folder: Path, classes: Classes) -> None:
    """A label is an annotation whose box is the whole image: where in it is not known. Category ids are the data set's own,
    image ids 1 to N. Annotations wait in a temporary file while the images are listed."""
    (folder / "images").mkdir()
    categories = [{"id": i, "name": name} for i, name in zip(classes.ids, classes.names, strict=True)]
    image_id = annotation_id = 0
    with (
        open(folder / ANNOTATIONS, "w", encoding="utf-8") as file,
        TemporaryFile("w+", encoding="utf-8", dir=folder) as waiting,
    ):
        file.write(f'{{"info": {{}}, "categories": {_json(categories)},\n"images": [')
        for image_id, sample in enumerate(samples, 1):
            name = sample.image_id + sample.suffix
            (folder / "images" / name).write_bytes(sample.data)
            _, width, height = header(sample.data, f"image {sample.image_id}")
            image = {"id": image_id, "file_name": name, "width": width, "height": height, "caption": sample.caption}
            file.write(("" if image_id == 1 else ",") + "\n" + _json(image))
            for label in sample.labels:
                annotation_id += 1
                ids = {"id": annotation_id, "image_id": image_id, "category_id": classes.ids[label]}
                annotation = ids | {"bbox": [0, 0, width, height], "area": width * height, "iscrowd": 0}
                waiting.write(("" if annotation_id == 1 else ",") + "\n" + _json(annotation))
        file.write('],\n"annotations": [')
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
        file.write("]}\n")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
