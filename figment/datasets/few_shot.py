"""A few labelled photos of every class, what is left of the training photos, and test sets: the splits of "DIAGen".

Every layout is listed in sorted order, so the same seed draws the same photos on every machine.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from figment.datasets import coco_largest, focus, folders, hub_parquet
from figment.datasets.config import CROSS_VALIDATED, FewShotDataConfig
from figment.datasets.labelled import StreamedImages
from figment.datasets.listing import Chunk, Listing, select
from figment.errors import InputError
from figment.image_files import passed_over
from figment.images import encode
from figment.labels import LabelSpace, key

FOCUS_TRAINING = 108  # photos of a class that the published split keeps for training and validation; the others test
FOCUS_SEED = 0  # one test set for all seeds; the published split has no seed


@dataclass(frozen=True)
class FewShotSplits:
    """``shots`` and ``held_out`` never share a photo; ``tests`` by name, the shots themselves if there are no others."""

    shots: Listing
    held_out: Listing
    tests: Mapping[str, Listing]


def read_splits(config: FewShotDataConfig, space: LabelSpace, shots: int, seed: int) -> FewShotSplits:
    """``shots`` photos of every class drawn from ``seed``; fewer shots are the first of more.

    Raises InputError if a class has fewer, or a name is in neither the space nor among those it was chosen from.
    """
    if shots > config.largest_shots:
        raise InputError(f"shots: {shots} is more than data.largest_shots {config.largest_shots}; raise the latter")
    if not os.path.isdir(config.root):
        raise InputError(f"data.root {config.root}: no such folder; give the folder of the photos")
    training, tests = _listings(config, space)
    try:
        chosen, left = draw_shots(training.labels, space.names, shots, config.largest_shots, seed, config.held_out)
    except InputError as error:
        others = passed_over(Path(config.root, config.train)) if config.source == "folders" else ""
        raise InputError(f"{error}{others}") from error
    shots_chosen = training.subset(chosen)
    return FewShotSplits(shots_chosen, training.subset(left), tests or {CROSS_VALIDATED: shots_chosen})


def check_held_out(splits: FewShotSplits, config: FewShotDataConfig) -> None:
    """Raise InputError if there is no photo to validate on."""
    if not len(splits.held_out):
        raise InputError(
            f"training.validate_on: held_out, but {config.root} has no photo beyond the first {config.largest_shots} of a class "
            "(data.largest_shots, data.held_out); add photos, or validate on nothing"
        )


def draw_shots(
    labels: Tensor, names: Sequence[str], shots: int, largest: int, seed: int, held_out: int | None = None
) -> tuple[Tensor, Tensor]:
    """Row numbers of the shots, and of at most ``held_out`` of a class beyond its ``largest`` number of shots, out of
    ``labels`` (N,). A class's first photos in its drawn order are its shots, so sets of fewer shots lie within larger ones.
    """
    chosen, left = [], []
    for label, order in drawn_orders(labels, names, seed).items():
        if len(order) < shots:
            raise InputError(
                f"class {names[label]!r}: {len(order)} photos for {shots} shots; add photos of it, or ask for fewer shots"
            )
        chosen.append(order[:shots])
        left.append(order[largest:][:held_out])
    return torch.cat(chosen), torch.cat(left)


def drawn_orders(labels: Tensor, names: Sequence[str], seed: int) -> dict[int, Tensor]:
    """Each class's row numbers, permuted: one generator goes through the classes in the alphabetical order of their names."""
    rng = np.random.default_rng(seed)
    orders = {}
    for label in sorted(range(len(names)), key=lambda i: key(names[i])):
        rows = (labels == label).nonzero().flatten()
        orders[label] = rows[torch.from_numpy(rng.permutation(len(rows)))]
    return orders


def photo_files(listing: Listing) -> Iterator[tuple[str, bytes]]:
    """(where, the file's bytes) of every photo, in the listing's order."""
    for chunk, row in listing.places.tolist():
        where, data = listing.chunks[chunk].read([row])[0]
        yield where, data if isinstance(data, bytes) else encode(np.asarray(data), "png")


def mask_files(listing: Listing, photos: Path, masks: Path) -> list[Path]:
    """The mask of each photo, a file below ``photos``: the PNG of the same place and name below ``masks``."""
    places = [(listing.chunks[chunk], row) for chunk, row in listing.places.tolist()]
    files = [chunk.files[row] for chunk, row in places if isinstance(chunk, folders.Files)]
    return [masks / file.relative_to(photos).with_suffix(".png") for file in files]


def open_photos(listing: Listing, size: int) -> StreamedImages:
    """The photos at ``size`` px, whole, squashed to the square."""
    return StreamedImages(listing, size, "squash")


def _listings(config: FewShotDataConfig, space: LabelSpace) -> tuple[Listing, dict[str, Listing]]:
    """The training photos and the test sets. A test set may lack a class; the training photos may not."""
    root = Path(config.root)
    if config.source == "focus":
        everything = select(focus.chunks(root), space, None, str(root))
        orders = drawn_orders(everything.labels, space.names, FOCUS_SEED).values()
        train, test = (torch.cat(part).sort().values for part in zip(*map(_focus_split, orders), strict=True))
        if not len(test):
            raise InputError(
                f"{root}: no class has more than {FOCUS_TRAINING} photos, so none is left to test on; unpack all of FOCUS"
            )
        return everything.subset(train), dict.fromkeys(config.tests, everything.subset(test))
    training = select(photo_chunks(config.source, root, config.train), space, None, f"{root} ({config.train})")
    tests = {
        name: select(photo_chunks(config.source, root, where, "test"), space, None, f"{root} ({where})", complete=False)
        for name, where in config.tests.items()
    }
    return training, tests


def _focus_split(order: Tensor) -> tuple[Tensor, Tensor]:
    return order[:FOCUS_TRAINING], order[FOCUS_TRAINING:]


def photo_chunks(source: str, root: Path, where: str, split: str = "train") -> Sequence[Chunk]:
    """The photos ``where`` below ``root``. Raises InputError if there are none."""
    if source == "coco":
        return coco_largest.chunks(root / "annotations" / f"instances_{where}.json", root / where)
    if source == "parquet":
        found = hub_parquet.chunks(root / where, split)
        if not found:
            raise InputError(
                f"{root / where}: no {split}*.parquet there; give data.train and data.tests as folders with them"
            )
        return found
    if not os.path.isdir(root / where):
        raise InputError(f"{root / where}: no such folder; give data.train and data.tests as folders below data.root")
    return folders.chunks(root / where, None)
