"""A few photos of every class, for stages that learn from them: words, a filter, images made from photos."""

from pathlib import Path

import pyarrow as pa

from figment.datasets.config import PhotosConfig
from figment.datasets.few_shot import draw_shots, photo_chunks
from figment.datasets.folders import Files
from figment.datasets.labelled import StreamedImages
from figment.datasets.listing import Listing, select
from figment.labels import LabelSpace


def draw_photos(config: PhotosConfig, space: LabelSpace) -> Listing:
    """The photos. Raises InputError if a class has fewer than ``shots``."""
    where = f"{Path(config.root)} ({config.train})"
    listing = select(photo_chunks(config.source, Path(config.root), config.train), space, None, where)
    chosen, _ = draw_shots(listing.labels, space.names, config.shots, config.shots, config.seed)
    return listing.subset(chosen)


def open_kept(photos: pa.Table, space: LabelSpace, size: int, sources: Path) -> StreamedImages:
    """Photos that a run has put into the folder ``sources``, by their names there (``image``) and classes (``label``); those of
    classes that ``space`` does not have are left out."""
    known = [row for row in photos.to_pylist() if row["label"] in space.names]
    files = Files([sources / row["image"] for row in known], [row["label"] for row in known])
    return StreamedImages(select([files], space, None, str(sources)), size, "squash")
