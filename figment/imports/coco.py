"""``coco``: a COCO annotation json, and the folder of its images. An image shows the classes of its annotations.

Also the json that the code of "Diverse and Tailored Image Generation" writes of what it made, beside ``syn_images/``.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from figment.datasets.coco import load_coco
from figment.errors import InputError
from figment.image_files import BYTES
from figment.imports.contract import Options
from figment.imports.images import Item, images_importer
from figment.reading import name_of, read_bytes

FOLDERS = ("", "images", "syn_images", "syn_image")  # beside the json or beside its folder


def _items(source: Path, options: Options) -> Iterator[Item]:
    coco = load_coco(source)
    labels: dict[int, dict[str, None]] = defaultdict(dict)
    for annotation in coco.anns.values():
        labels[annotation["image_id"]][coco.cats[annotation["category_id"]]["name"]] = None
    names = {number: coco.imgs[number]["file_name"] for number in labels}
    places = (
        [options.images]
        if options.images
        else [above / name for above in (source.parent, source.parent.parent) for name in FOLDERS]
    )
    first = next(iter(names.values()), "")
    folder = next((place for place in places if first and (place / first).is_file()), None)
    if folder is None:
        looked = ", ".join(dict.fromkeys(map(name_of, places)))
        raise InputError(f"{name_of(source)}: its first image, {first or 'none'}, is not below {looked}; give --images")
    for number, name in names.items():
        data = read_bytes(folder / name, f"an image that {source.name} names", BYTES, "a readable image")
        yield Item(name_of(folder / name), data, tuple(labels[number]))


IMPORTER = images_importer("coco", "a COCO annotation json", _items, "images")
