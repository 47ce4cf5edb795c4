"""Images made elsewhere as a pool: a plan with a row an image, and shards, exactly as rendered ones lie in a run's folder.

A row says where its image came from: the model is ``imported:KIND``, the revision the SHA-256 of all that was imported with it,
the replicate its place therein. So an image's id follows from the content, wherever the source lies.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from figment.errors import InputError
from figment.files import canonical_json
from figment.images import decode, encode
from figment.imports.contract import Found, Importer, Options, read_record
from figment.labels import LabelSpace, check_name, nearest
from figment.planning.identity import table_of
from figment.planning.plan import write_plan
from figment.planning.row import IMPORTED, Row
from figment.prompts.prompt_files import id_named
from figment.synthesis.pool import Pool
from figment.text import shown

SHARD_IMAGES, SHARD_BYTES = 1000, 64 << 20
KEPT_FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}  # others are saved as PNG
RECIPE = "import"
USE = "name it in a config's `imported: [{}]`: its images pass the run's validation and gates, and join the training"


class Item(NamedTuple):
    """An encoded image, where it stands, what it shows, and the prompt that it was made from, if that is known."""

    where: str
    data: bytes
    labels: tuple[str, ...]
    caption: str = ""


Made = tuple[Row, tuple[bytes, str], float]  # a row, its file's bytes and suffix, the contrast of its pixels
Items = Callable[[], Iterator[Item]]  # may be gone through twice


def images_importer(kind: str, source: str, items: Callable[[Path, Options], Iterator[Item]], *takes: str) -> Importer:
    """What brings in the images that ``items`` finds in a source, in the same order each time; ``takes``: options beside name."""

    def read(source: Path, folder: Path, options: Options) -> Found:
        return write_images(partial(items, source, options), folder, kind, options.name)

    return Importer("images", source, read, frozenset({"name", *takes}))


def write_images(items: Items, folder: Path, kind: str, name: str) -> Found:
    """``folder``/plan.parquet and ``folder``/images of all ``items``. Raises InputError for what is no image, for an image
    without a class, and if there is none at all."""
    content, classes, count = sha256(), Counter[str](), 0
    for item in items():
        if not item.labels:
            raise InputError(f"{item.where}: no class is given for it; expected at least one")
        for label in item.labels:
            check_name(label, item.where)
        line = [sha256(item.data).hexdigest(), list(item.labels), item.caption]
        content.update(f"{canonical_json(line)}\n".encode())
        classes.update(item.labels)
        count += 1
    if not count:
        raise InputError(f"import {kind}: the source holds no image; expected at least one")
    pool, rows = Pool(folder / "images"), list[Made]()
    for number, item in enumerate(items()):
        image = decode(item.data, item.where)
        values: dict[str, Any] = {
            "prompt": item.caption or " and ".join(item.labels),
            "labels": item.labels,
            "recipe": RECIPE,
            "trick": name,
            "model": f"{IMPORTED}{kind}",
            "revision": content.hexdigest(),
            "width": image.width,
            "height": image.height,
            "guidance_scale": 0.0,
            "num_inference_steps": 1,
            "scheduler": "",
            "stream": 0,
            "replicate": number,
        }
        rows.append((Row(**values), _kept(item, image), _contrast(image)))
        if len(rows) == SHARD_IMAGES or sum(len(data) for _, (data, _), _ in rows) > SHARD_BYTES:
            _add(pool, rows)
            rows.clear()
    _add(pool, rows)
    pool.seal()
    write_plan((Row(**record) for record in _records(pool, list(Row.model_fields))), folder / "plan.parquet")
    return Found(content.hexdigest(), {"images": count, "classes": len(classes)}, USE)


def _records(pool: Pool, columns: list[str]) -> Iterator[dict[str, Any]]:
    for file in sorted(pool.shards):
        for batch in pool.read(pool.ids_of(file).to_pylist(), columns, 256):
            yield from batch.to_pylist()


def _kept(item: Item, image: Image.Image) -> tuple[bytes, str]:
    """The bytes to keep, and their suffix: the file as it was, or a PNG where its format is one that few read."""
    with Image.open(io.BytesIO(item.data)) as original:
        suffix = KEPT_FORMATS.get(str(original.format))
    return (item.data, suffix) if suffix else (encode(np.asarray(image), "png"), "png")


def _contrast(image: Image.Image) -> float:
    """The deviation of the pixels in [0, 1], averaged over the channels, as synthesis notes it."""
    return (
        float((np.asarray(image, np.float32) / 255).reshape(-1, 3).std(0, ddof=1).mean())
        if image.size != (1, 1)
        else 0.0
    )


def _add(pool: Pool, rows: Iterable[Made]) -> None:
    """Write a shard of these rows, sorted by id."""
    ordered = sorted(rows, key=lambda each: each[0].image_id)
    if not ordered:
        return
    ids = [row.image_id for row, _, _ in ordered]
    columns: dict[str, list[Any]] = {
        "image": [
            {"bytes": data, "path": f"{i}.{suffix}"} for i, (_, (data, suffix), _) in zip(ids, ordered, strict=True)
        ],
        "contrast": [contrast for _, _, contrast in ordered],
        "unsafe": [False] * len(ordered),
    }
    pool.add(table_of([row for row, _, _ in ordered]), columns)


def bring_in(folders: Iterable[str], space: LabelSpace, pool: Pool) -> Iterator[Row]:
    """The rows of imported ``folders`` that show classes of ``space``, under its names; each image is in ``pool`` once all rows
    are read. Of an image with several labels those count that ``space`` has.

    Raises InputError for a folder that is no import of images, or a damaged one, and for a class that ``space`` does not know.
    """
    for number, text in enumerate(folders):
        folder, where = Path(text), f"imported[{number}]"
        record = read_record(folder, "images", where)
        source = Pool(folder / "images")
        damaged = source.verify()
        if damaged or len(source) != record.counts["images"]:
            raise InputError(
                f"{where}: {folder} holds {len(source):,} of its {record.counts['images']:,} images; import them again"
            )
        names: dict[str, str | None] = {}
        waiting: list[Made] = []
        for found in _records(source, [*Row.model_fields, "image", "contrast"]):
            image, contrast = found.pop("image"), found.pop("contrast")
            labels = [
                names.setdefault(label, _name_of(label, space, f"{where}: {folder}")) for label in found["labels"]
            ]
            known = tuple(dict.fromkeys(label for label in labels if label is not None))
            if not known:
                continue
            row = Row(**{**found, "labels": known})
            waiting.append((row, (image["bytes"], Path(image["path"]).suffix[1:]), contrast))
            if len(waiting) == SHARD_IMAGES:
                _add_missing(pool, waiting)
                waiting = []
            yield row
        _add_missing(pool, waiting)
        pool.seal()


def _name_of(label: str, space: LabelSpace, where: str) -> str | None:
    """The class that an imported label means; None for one that was not chosen."""
    found = id_named(label, space)
    if found is None and not space.knows(label):
        hint = ", ".join(nearest(label, space.names, 1)) or "none"
        raise InputError(
            f"{where}: shows {shown(label)}, which is no known class (nearest: {hint}); add a synonym to the label file"
        )
    return None if found is None else space.names[found]


def _add_missing(pool: Pool, rows: list[Made]) -> None:
    """Write those of the rows whose images ``pool`` lacks."""
    if rows:
        table = table_of([row for row, _, _ in rows]).sort_by("image_id")
        lacking = set(pool.missing(table)["image_id"].to_pylist())
        _add(pool, (each for each in rows if each[0].image_id in lacking))
