"""MS-COCO: any annotation json through pycocotools, and the 48/17 zero-shot split in the files of either paper."""

import contextlib
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from figment.datasets.multilabel import MultiLabelSet, Split, check_file_name, first_there, labelled_only, split_ids
from figment.errors import InputError
from figment.labels import LabelSpace, key, nearest
from figment.reading import LARGE, read_json
from figment.text import shown

SPLITS = {  # as "Diverse and Tailored Image Generation" names them, as "Semantic Diversity Learning" does, images
    "train": ("annotations/instances_train2014_seen_48_17.json", "zs_split/train_17_48.json", "train2014"),
    "zsl": ("annotations/instances_val2014_unseen_48_17.json", "zs_split/val_unseen.json", "val2014"),
    "gzsl": ("annotations/instances_val2014_gzsi_48_17.json", "zs_split/val_17_48.json", "val2014"),
}


def read_coco(annotations: Path, images: Path, space: LabelSpace) -> MultiLabelSet:
    """The images below the folder ``images`` that the json says show any of ``space``'s classes.

    Categories are matched by name or synonym, never by order or id; those outside the space are passed over. Raises
    InputError for a class without a category, duplicate ids, references to nothing, and file names that lead elsewhere or to
    no file.
    """
    return _read(annotations, [images], space)


def _read(annotations: Path, folders: Sequence[Path], space: LabelSpace) -> MultiLabelSet:
    """``read_coco``, of images in the first of ``folders`` that has each."""
    coco = load_coco(annotations)
    columns: dict[int, int] = {}
    for category in coco.cats.values():
        column = space.id_of(category["name"])
        if column is not None:
            if column in columns.values():
                raise InputError(
                    f"{annotations}: two categories mean {space.names[column]!r}; each class has one category"
                )
            columns[category["id"]] = column
    for column, name in enumerate(space.names):
        if column not in columns.values():
            hint = ", ".join(nearest(name, [category["name"] for category in coco.cats.values()])) or "none"
            raise InputError(f"{annotations}: no category for class {name!r}; the nearest of its categories are {hint}")
    rows = {image_id: row for row, image_id in enumerate(coco.imgs)}
    targets = np.zeros((len(rows), len(space)), bool)
    for annotation in coco.anns.values():
        if annotation["category_id"] in columns:
            targets[rows[annotation["image_id"]], columns[annotation["category_id"]]] = True
    shown = labelled_only(str(annotations), [Path(image["file_name"]) for image in coco.imgs.values()], targets, space)
    files = [next((f / name for f in folders if (f / name).is_file()), None) for name in shown.files]
    absent = [name for name, file in zip(shown.files, files, strict=True) if file is None]
    if absent:
        raise InputError(
            f"{annotations}: {len(absent)} of {len(files)} images are not there, the first is {absent[0]} below "
            f"{' or '.join(map(str, folders))}; unpack them all"
        )
    return replace(shown, files=tuple(file for file in files if file))


def read_coco_split(root: Path, split: Split, space: LabelSpace) -> MultiLabelSet:
    """A split of the 48/17 protocol: ``train`` over the seen classes, ``zsl`` over the unseen, ``gzsl`` over all.

    ``root`` holds annotations/ or zs_split/ with the files of either paper, and train2014/ and val2014/, by themselves or in
    images/. An image's name in those files may begin with its folder.
    """
    *names, folder = SPLITS[split]
    annotations = first_there(root, *names)
    classes = space.choose([space.names[i] for i in split_ids(space, split)])
    images = first_there(root, folder, f"images/{folder}")
    return _read(annotations, [images, images.parent], classes)


def load_coco(path: Path) -> COCO:
    """A checked json as pycocotools holds it, without its chatter."""
    data = read_json(path, "a COCO annotation json", LARGE)
    _check(path, data)
    coco = COCO()
    coco.dataset = data
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _check(path: Path, data: Any) -> None:
    tables = {}
    for table, fields in (
        ("images", ("id", "file_name")),
        ("categories", ("id", "name")),
        ("annotations", ("id", "image_id", "category_id")),
    ):
        rows = data.get(table) if isinstance(data, dict) else None
        if not isinstance(rows, list):
            raise InputError(f"{path}: has no list {table!r}; a COCO json has images, categories and annotations")
        for i, row in enumerate(rows):
            for field in fields:
                if not isinstance(row, dict) or not isinstance(row.get(field), str if "name" in field else int):
                    raise InputError(
                        f"{path}: {table}[{i}] has no {field!r} or one of the wrong kind; it should be "
                        f"{'text' if 'name' in field else 'a whole number'}"
                    )
        _check_once(path, f"{table} with id", (row["id"] for row in rows))
        tables[table] = {row["id"] for row in rows}
    for i, image in enumerate(data["images"]):
        image["file_name"] = image["file_name"].replace("\\", "/")  # as Windows writes it
        check_file_name(image["file_name"], f"{path}: images[{i}]")
    _check_once(path, "images with file_name", (image["file_name"] for image in data["images"]))
    _check_once(path, "categories with name", (key(category["name"]) for category in data["categories"]))
    for i, annotation in enumerate(data["annotations"]):
        box = annotation.get("bbox")
        for field, values in (("area", [annotation.get("area")]), ("bbox", box if isinstance(box, list) else [])):
            if any(isinstance(value, float) and not math.isfinite(value) for value in values):
                raise InputError(
                    f"{path}: annotations[{i}].{field} is {shown(annotation[field])}; expected finite numbers"
                )
        for field, table in (("image_id", "images"), ("category_id", "categories")):
            if annotation[field] not in tables[table]:
                raise InputError(
                    f"{path}: annotation {annotation['id']} has {field} {annotation[field]}, which is not among the {table}; "
                    f"add it there or remove the annotation"
                )


def _check_once(path: Path, what: str, values: Iterable[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise InputError(f"{path}: there are two {what} {value!r}; each must be there once")
        seen.add(value)
