"""What may be trained on of real images: some without labels, and a few shots of every class."""

from pathlib import Path

import torch

from figment.datasets import folders, hub_parquet
from figment.datasets.config import RealConfig
from figment.datasets.few_shot import draw_shots
from figment.datasets.labelled import StreamedImages, has_split, open_labelled, read_labelled
from figment.datasets.listing import Chunk, Listing, select
from figment.errors import InputError
from figment.image_files import find_files
from figment.images import Resize
from figment.labels import LabelSpace

NO_LABEL = -1


def open_unlabelled(
    path: str, space: LabelSpace, size: int, resize: Resize = "bicubic", native_size: int | None = None
) -> StreamedImages:
    """All images of a file or folder, at ``size`` px, each with ``NO_LABEL``. Where the data name classes (a label, a folder),
    images of those that ``space`` knows but did not choose are left out, as they are of the test; names have no other use.

    Raises InputError if there is no image.
    """
    try:
        files = find_files([Path(path)])
    except InputError as error:
        raise InputError(f"real.unlabelled: {error}") from error
    plain = [file for file in files if file.suffix.lower() != ".parquet"]
    chunks: list[Chunk] = list(hub_parquet.unlabelled([file for file in files if file not in set(plain)]))
    for first in range(0, len(plain), folders.CHUNK):
        part = plain[first : first + folders.CHUNK]
        chunks.append(folders.Files(part, [file.parent.name for file in part]))
    others = {name for chunk in chunks for name in chunk.names if space.knows(name) and space.id_of(name) is None}
    places = [
        (number, row)
        for number, chunk in enumerate(chunks)
        for row, name in enumerate(chunk.names)
        if name not in others
    ]
    if not places:
        raise InputError(f"real.unlabelled: {path}: no image of the classes asked for; give images of them")
    listing = Listing(chunks, torch.tensor(places), torch.full((len(places),), NO_LABEL))
    return StreamedImages(listing, size, resize, native_size=native_size)


def open_shots(
    real: RealConfig, space: LabelSpace, size: int, resize: Resize = "bicubic", native_size: int | None = None
) -> StreamedImages:
    """``real.shots`` images of every class out of the training split, drawn by ``real.seed``: fewer shots are the first of more.
    Or those of the file that it names. Raises InputError if there is no such split or file, or a class has fewer."""
    path = Path(real.path)
    if isinstance(real.shots, str):
        file = Path(real.shots)
        if not file.is_file():
            raise InputError(f"real.shots: {file}: no such file; give a number, or the shots.parquet of figment ask")
        listing = select(hub_parquet.chunks(file, "test"), space, None, f"real.shots: {file}", complete=False)
        return StreamedImages(listing, size, resize, native_size=native_size)
    if not has_split(path, "train"):
        raise InputError(
            f"real.shots: {real.path} has no split 'train' to draw {real.shots} images of every class from"
        )
    train = open_labelled(path, "train", space, size, real.train_per_class, resize, native_size)
    try:
        chosen, _ = draw_shots(train.labels, space.names, real.shots, real.shots, real.seed)
    except InputError as error:
        raise InputError(f"real.shots: {real.path} (train): {error}") from error
    return train.subset(chosen)


def check_data(real: RealConfig, space: LabelSpace) -> None:
    """Raise InputError, before anything is rendered, if real images that a later step takes are not there."""
    path = Path(real.path)
    for split in ("train", real.test):
        if split == real.test or has_split(path, split):
            read_labelled(path, split, space, size=32, per_class=1)
    if real.unlabelled:
        open_unlabelled(real.unlabelled, space, size=32).subset(torch.tensor([0])).load()
    if real.shots:
        open_shots(real, space, size=32).load()
