"""The splits of images with several classes each on disk, with accepted images among those that are trained on."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import torch

from figment.datasets.config import ZeroShotConfig
from figment.datasets.tagged import NAMES, TaggedImages
from figment.datasets.zero_shot import write_splits
from figment.errors import InputError
from figment.files import sha256_file, write_json
from figment.images import decode, squash
from figment.keys import data_digest
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.synthesis.pool import Pool
from figment.training.jobs import Cache
from figment.validation.verdicts import shown_labels


def splits_of(
    data: ZeroShotConfig,
    space: LabelSpace,
    size: int,
    output: Path,
    cached: Cache,
    made: tuple[FileRef, FileRef] | None = None,
) -> FileRef:
    """``output``/splits/splits.json: how many images train, validation, zsl and gzsl beside it have, and their hashes. ``made``:
    images and their verdicts, of which the accepted are trained on too, as what CLIP saw in them; in splits_with_made then."""
    path = output / ("splits_with_made" if made else "splits") / "splits.json"
    inputs = {
        "labels": space,
        "data": [data, *(data_digest(path, "all") for path in data.paths)],
        "image_size": size,
        "made": [file.sha256 for file in made or ()],
    }

    def write() -> None:
        more = None
        if made:
            images, verdicts = made
            more = made_images(shown_labels(pq.read_table(verdicts.open())), Pool(images.open().parent), space, size)
        counts = write_splits(data, space, size, path.parent, more)
        content = {file: sha256_file(path.parent / file) for name in counts for file in (f"{name}/{n}" for n in NAMES)}
        write_json(path, {"images": counts, "made": len(more) if more else 0, "sha256": content})

    return FileRef.of(cached(path, __name__, inputs, write))


def made_images(shown: Mapping[str, Collection[str]], pool: Pool, space: LabelSpace, size: int) -> TaggedImages:
    """Images that were synthesised, sorted by id, with the names of what each shows; it shows nothing else.

    Raises InputError if there is none.
    """
    if not shown:
        raise InputError(
            "acceptance: no image passed the check, so none can be trained on; lower the policy's bar, make more "
            "images, or say 'generated: false'"
        )
    rows = {row["image_id"]: row for batch in pool.read(shown, ["image_id", "image"]) for row in batch.to_pylist()}
    pixels, targets = [], []
    for image_id in sorted(shown):
        pixels.append(squash(decode(rows[image_id]["image"]["bytes"], f"image {image_id}"), size))
        targets.append([name in shown[image_id] for name in space.names])
    return TaggedImages(torch.stack(pixels), torch.tensor(targets).to(torch.int8))
