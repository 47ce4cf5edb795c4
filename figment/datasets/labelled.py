"""Images with one label each, from the layouts people have them in: in memory as uint8, or decoded as they are needed.

The layout is recognised: a Parquet file or a folder of them (as on the Hugging Face Hub), CIFAR's python batches, or one
folder a class.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from figment.datasets import cifar_batches, folders, hub_parquet
from figment.datasets.decoding import Job, decode_ahead
from figment.datasets.listing import Chunk, Listing, select
from figment.devices import free_memory
from figment.errors import InputError
from figment.image_files import files_below
from figment.images import Resize
from figment.labels import LabelSpace
from figment.reading import name_of


@dataclass(frozen=True)
class LabelledImages:
    """``pixels`` (N, 3, S, S) uint8 and ``labels`` (N,) ids into the label space they were read with."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> "LabelledImages":
        """The images at ``rows`` (M,), in that order."""
        return LabelledImages(self.pixels[rows], self.labels[rows])

    def parts(self) -> Iterator[tuple[Tensor, "LabelledImages"]]:
        """Row numbers and images: here all at once."""
        yield torch.arange(len(self)), self


@dataclass(frozen=True)
class StreamedImages:
    """A set that memory does not hold: decoded on worker processes every time it is gone through."""

    listing: Listing
    size: int
    resize: Resize = "bicubic"
    workers: int | None = None
    native_size: int | None = None  # as ``to_tensor`` has it

    @property
    def labels(self) -> Tensor:
        return self.listing.labels

    def __len__(self) -> int:
        return len(self.listing)

    def subset(self, rows: Tensor) -> "StreamedImages":
        return replace(self, listing=self.listing.subset(rows))

    def rows(self, generator: torch.Generator | None = None) -> list[Tensor]:
        """Row numbers of the whole set, a chunk at a time; the chunks' order is drawn from ``generator`` if there is one."""
        chunk_of = self.listing.places[:, 0]
        by_chunk = chunk_of.argsort(stable=True)
        _, counts = chunk_of[by_chunk].unique_consecutive(return_counts=True)
        rows = by_chunk.split(counts.tolist())
        order = torch.arange(len(rows)) if generator is None else torch.randperm(len(rows), generator=generator)
        return [rows[i] for i in order.tolist()]

    def parts(
        self, generator: torch.Generator | None = None, only: Tensor | None = None
    ) -> Iterator[tuple[Tensor, LabelledImages]]:
        """``rows`` and their images; where ``only`` (N,) is false, anything may stand in an image's place."""
        chunk_of, row_of = self.listing.places.unbind(1)
        parts = self.rows(generator)
        decoded = parts if only is None else [rows[only[rows]] for rows in parts]
        jobs = [
            Job(self.listing.chunks[int(chunk_of[rows[0]])], row_of[some].tolist())
            for rows, some in zip(parts, decoded, strict=True)
        ]
        images = decode_ahead(jobs, self.size, self.resize, self.workers, self.native_size)
        for rows, pixels in zip(parts, images, strict=True):
            if only is not None:
                found, pixels = pixels, torch.empty(len(rows), *pixels.shape[1:], dtype=pixels.dtype)
                pixels[only[rows]] = found
            yield rows, LabelledImages(pixels, self.labels[rows])

    def load(self) -> LabelledImages:
        """The whole set in memory, in its own order."""
        pixels = torch.empty(len(self), 3, self.size, self.size, dtype=torch.uint8)
        for rows, part in self.parts():
            pixels[rows] = part.pixels
        return LabelledImages(pixels, self.labels)

    def load_if_it_fits(self, budget: int | None = None) -> "Images":
        """In memory if that takes at most ``budget`` bytes (default: a third of what is free, for a held-out
        share is copied), else itself."""
        needed = len(self) * 3 * self.size**2
        return self.load() if needed <= (free_memory() // 3 if budget is None else budget) else self


Images = LabelledImages | StreamedImages


def of_each(images: Images, see: Callable[[Tensor], Tensor]) -> Tensor:
    """(N, ...) what ``see`` gives of pixels (n, 3, S, S) uint8, for a whole set in its order, whether or not memory holds it."""
    found = [(rows, see(part.pixels)) for rows, part in images.parts()]
    order = torch.cat([rows for rows, _ in found]).argsort()
    return torch.cat([seen for _, seen in found])[order]


def open_labelled(
    path: Path,
    split: str,
    space: LabelSpace,
    size: int,
    per_class: int | None = None,
    resize: Resize = "bicubic",
    native_size: int | None = None,
) -> StreamedImages:
    """The images of ``space``'s classes in ``path``, at ``size`` px, larger ones by way of ``native_size``, not decoded.

    ``split`` selects ``train`` or ``test`` where the layout knows it. ``per_class`` keeps the first so many of each.
    Class names are matched whatever their case, underscores, spaces or synonyms. Raises InputError, with both sides, if a
    class has no image or if images have a class that no one knows.
    """
    if not os.path.exists(path):
        raise InputError(
            f"{name_of(path)}: no such file or folder; give the real images' Parquet, CIFAR batches or class folders"
        )
    chunks = _chunks(path, split)
    if not chunks:
        raise InputError(_no_split(path, split))
    listing = select(chunks, space, per_class, f"{path} ({split})")
    return StreamedImages(listing, size, resize, native_size=native_size)


def read_labelled(
    path: Path,
    split: str,
    space: LabelSpace,
    size: int,
    per_class: int | None = None,
    resize: Resize = "bicubic",
    native_size: int | None = None,
) -> LabelledImages:
    """``open_labelled``, decoded into memory."""
    return open_labelled(path, split, space, size, per_class, resize, native_size).load()


def has_split(path: Path, split: str) -> bool:
    """Whether ``path`` holds any image of this split. Images without a split are test images."""
    return os.path.exists(path) and any(len(chunk.names) for chunk in _chunks(path, split))


def _chunks(path: Path, split: str) -> Sequence[Chunk]:
    """By the layout of ``path``. Parquet files without images and a ``test`` without CIFAR's names decide nothing where there
    are class folders with images."""
    try:
        if path.is_file():
            return hub_parquet.chunks(path, split)
        parquet, batches = hub_parquet.files(path, split), cifar_batches.files(path, split)
        sure = any(map(hub_parquet.has_images, parquet)) or any(map(cifar_batches.names_file, batches))
        if not sure and (parquet or batches) and files_below(path):
            parquet, batches = [], []
        if parquet:
            return hub_parquet.chunks(path, split)
        if batches:
            return cifar_batches.chunks(path, split)
        if _parquet_names(path) and not files_below(path):
            return []
        return folders.chunks(path, split)
    except PermissionError as error:
        raise InputError(
            f"{error.filename or path}: cannot be read ({error.strerror}); check its permissions"
        ) from error


def _parquet_names(path: Path) -> list[str]:
    return sorted({file.name for file in path.rglob("*.parquet")}) if path.is_dir() else []


def _no_split(path: Path, split: str) -> str:
    """What there is in place of a split."""
    parquet, named = _parquet_names(path), folders.split_folders(path)
    if parquet and not files_below(path):
        there = f"the Parquet files there are {', '.join(map(name_of, parquet[:5]))}{', ...' if parquet[5:] else ''}"
        need = f"one whose name begins with {split!r}, such as {split}-00000-of-00001.parquet"
    elif named:
        there, need = f"the folders there are {', '.join(named)}", f"a folder {split!r} with one folder a class"
    else:
        there, need = (
            "it holds no image",
            f"Parquet files, CIFAR batches, or a folder {split!r} with one folder a class",
        )
    other = next(
        (name for name in ("validation", "val", "test") if name != split and name in " ".join([*parquet, *named])), ""
    )
    hint = f", or 'real.test: {other}' in the config" if other and split != "train" else ""
    return f"{name_of(path)}: no split {split!r}; {there}; expected {need}{hint}"
