"""MS-COCO with one label an image: the category of its largest object, as "DIAGen" has it."""

from pathlib import Path
from typing import Any

from figment.datasets.coco import load_coco
from figment.datasets.folders import CHUNK, Files
from figment.errors import InputError


def chunks(annotations: Path, images: Path) -> list[Files]:
    """The annotated images below the folder ``images``, sorted by file name.

    Largest is the annotation of the largest ``area``; regions of a crowd count, and of equals the first. Images without
    an annotation are left out. Raises InputError for an annotation without an area and for an image that is not there.
    """
    coco = load_coco(annotations)
    largest: dict[int, dict[str, Any]] = {}
    for annotation in coco.anns.values():
        area = annotation.get("area")
        if isinstance(area, bool) or not isinstance(area, int | float) or not area >= 0:
            raise InputError(
                f"{annotations}: annotation {annotation['id']} has no 'area' that is a number; it says which object is largest"
            )
        found = largest.setdefault(annotation["image_id"], annotation)
        if annotation["area"] > found["area"]:
            largest[annotation["image_id"]] = annotation
    named = sorted(
        (images / coco.imgs[image_id]["file_name"], coco.cats[annotation["category_id"]]["name"])
        for image_id, annotation in largest.items()
    )
    absent = [file for file, _ in named if not file.is_file()]
    if absent:
        raise InputError(
            f"{annotations}: {len(absent)} of {len(named)} images are not there, the first is {absent[0]}; unpack them all"
        )
    parts = [named[first : first + CHUNK] for first in range(0, len(named), CHUNK)]
    return [Files([file for file, _ in part], [name for _, name in part]) for part in parts]
