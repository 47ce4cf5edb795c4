"""The splits of zero-shot multi-label recipes: published sets, or Parquet with a list of labels an image.

Four sets of images (``figment.datasets.tagged``) over all classes of one label space: ``train`` and ``validation`` with
seen labels, of the unseen ones nothing known; ``zsl`` with unseen labels; ``gzsl`` with all. Classes are matched by name.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from figment.clip.label_vectors import read_names
from figment.datasets import hub_parquet
from figment.datasets.coco import read_coco, read_coco_split
from figment.datasets.config import ZeroShotConfig
from figment.datasets.hub_parquet import RowGroup
from figment.datasets.multilabel import MultiLabelSet, Split
from figment.datasets.nus_wide import nus_wide_space, read_nus_wide
from figment.datasets.open_images import read_open_images_split
from figment.datasets.tagged import TaggedImages, write_tagged
from figment.devices import cores
from figment.errors import InputError
from figment.image_files import read_image
from figment.images import decode, squash
from figment.labels import Label, LabelSpace, nearest

SPLITS: tuple[Split, ...] = ("train", "zsl", "gzsl")
BATCH = 256  # images decoded at a time


def zero_shot_space(config: ZeroShotConfig) -> LabelSpace:
    """All classes, seen and unseen. Raises InputError if either kind is missing."""
    if config.labels:
        path = Path(config.labels)
        space = _listed(path) if path.is_dir() else LabelSpace.load(path)
    else:
        named = ((config.seen, False), (config.unseen, True))
        space = LabelSpace(
            labels=tuple(Label(name=name, unseen=new) for names, new in named for name in names)
        ).checked()
    if config.source == "nus_wide" and config.root:
        space = nus_wide_space(Path(config.root), space)
    for kind, ids in (("seen", space.seen_ids), ("unseen", space.unseen_ids)):
        if len(ids) < 2:
            where = f"data.labels {config.labels}" if config.labels else f"data.{kind}"
            raise InputError(f"{where}: {len(ids)} {kind} classes; a zero-shot split has two or more ('unseen: true')")
    return space


def _listed(folder: Path) -> LabelSpace:
    """The classes of seen.txt and unseen.txt."""
    labels = [
        Label(name=name, unseen=unseen)
        for file, unseen in (("seen.txt", False), ("unseen.txt", True))
        for name in read_names(folder / file)
    ]
    try:
        return LabelSpace(labels=tuple(labels)).checked()
    except InputError as error:
        raise InputError(f"{folder}, seen.txt then unseen.txt: {error}") from error


def write_splits(
    config: ZeroShotConfig, space: LabelSpace, size: int, folder: Path, more: TaggedImages | None = None
) -> dict[str, int]:
    """Write ``train``, ``validation``, ``zsl`` and ``gzsl`` below ``folder`` at ``size`` px; returns how many images each
    has. Images ``more`` are trained on too, and never validate."""
    sets: Sequence[_Rows] | Sequence[_Files]
    sets = _read_parquet(config, space, size) if config.source == "parquet" else _read(config, space, size)
    train, *tests = sets
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(config.seed))
    held = max(1, round(config.validation * len(train)))
    validation, train = train.subset(chosen[:held].tolist()), train.subset(chosen[held:].tolist())
    counts = {}
    for name, part in zip(("train", "validation", "zsl", "gzsl"), (train, validation, *tests), strict=True):
        batches: Iterator[Tensor] = part.batches()
        targets = part.targets
        if more is not None and name == "train":
            batches, targets = chain(batches, [more.pixels]), torch.cat([targets, more.targets])
        write_tagged(folder / name, batches, targets, size)
        counts[name] = len(targets)
    return counts


class _Files:
    """Images of a published set, decoded when they are asked for."""

    def __init__(self, files: Sequence[Path], targets: Tensor, size: int):
        self.files, self.targets, self.size = files, targets, size

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, rows: list[int]) -> "_Files":
        return _Files([self.files[row] for row in rows], self.targets[rows], self.size)

    def batches(self) -> Iterator[Tensor]:
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(self), BATCH):
                yield torch.stack(list(pool.map(self._image, self.files[start : start + BATCH])))

    def _image(self, file: Path) -> Tensor:
        return squash(read_image(file), self.size)


class _Rows:
    """Images of Parquet files, in the files' order: ``places`` (N, 2) row group and row within it."""

    def __init__(self, groups: Sequence[RowGroup], places: Tensor, targets: Tensor, size: int):
        self.groups, self.places, self.targets, self.size = groups, places, targets, size

    def __len__(self) -> int:
        return len(self.places)

    def subset(self, rows: list[int]) -> "_Rows":
        kept = sorted(rows)
        return _Rows(self.groups, self.places[kept], self.targets[kept], self.size)

    def batches(self) -> Iterator[Tensor]:
        with ThreadPoolExecutor(cores()) as pool:
            for number, group in enumerate(self.groups):
                for rows in self.places[self.places[:, 0] == number, 1].split(BATCH):
                    yield torch.stack(list(pool.map(self._image, group.read(rows.tolist()))))

    def _image(self, found: tuple[str, bytes]) -> Tensor:
        where, data = found
        return squash(decode(data, where), self.size)


def _read(config: ZeroShotConfig, space: LabelSpace, size: int) -> list[_Files]:
    """Of the classes that a split says nothing of, nothing is known."""
    if config.train and config.test:
        seen, unseen = (space.choose([space.names[i] for i in ids]) for ids in (space.seen_ids, space.unseen_ids))
        parts = ((config.train, seen), (config.test, unseen), (config.test, space))
        return [_files(read_coco(Path(part.annotations), Path(part.images), own), space, size) for part, own in parts]
    root = Path(config.root or "")
    if config.source == "open_images":
        return [_Files(*read_open_images_split(root, split, space), size) for split in SPLITS]
    read = read_coco_split if config.source == "coco" else read_nus_wide
    return [_files(read(root, split, space), space, size) for split in SPLITS]


def _files(found: MultiLabelSet, space: LabelSpace, size: int) -> _Files:
    """The set over all classes of ``space``."""
    targets = torch.full((len(found), len(space)), -1, dtype=torch.int8)
    targets[:, [space.names.index(name) for name in found.space.names]] = found.targets.to(torch.int8)
    return _Files(found.files, targets, size)


def _read_parquet(config: ZeroShotConfig, space: LabelSpace, size: int) -> list[_Rows]:
    """What is said of unseen classes in training images is not used; the test images that show one are the ``zsl`` set.
    Images that show none of the classes are passed over, as are labels of other classes."""
    root, every = Path(config.root or ""), tuple(range(len(space)))
    train, test = (_rows(root, split, space, ids, size) for split, ids in (("train", space.seen_ids), ("test", every)))
    train.targets[:, list(space.unseen_ids)] = -1
    parts = ((train, space.seen_ids), (test, space.unseen_ids), (test, every))
    return [rows.subset((rows.targets[:, list(ids)] > 0).any(1).nonzero().flatten().tolist()) for rows, ids in parts]


def _rows(root: Path, split: str, space: LabelSpace, ids: Sequence[int], size: int) -> _Rows:
    """All images of a split, with targets over the whole space. Raises InputError if no image shows one of the ``ids``."""
    tagged = hub_parquet.tagged(root, split)
    if not tagged:
        raise InputError(f"{root}: no {split}*.parquet; give a folder with train*.parquet and test*.parquet")
    images = [(number, row, names) for number, (_, tags) in enumerate(tagged) for row, names in enumerate(tags)]
    found = {name: space.id_of(name) for _, _, names in images for name in names}
    for i in ids:
        if i not in found.values():
            hint = ", ".join(nearest(space.names[i], found)) or "none"
            raise InputError(
                f"{root}: no image of {split}*.parquet is labelled {space.names[i]!r}; the nearest of its labels: {hint}"
            )
    targets = torch.zeros(len(images), len(space), dtype=torch.int8)
    for image, (_, _, names) in enumerate(images):
        targets[image, [known for name in names if (known := found[name]) is not None]] = 1
    places = torch.tensor([(number, row) for number, row, _ in images])
    return _Rows([group for group, _ in tagged], places, targets, size)
