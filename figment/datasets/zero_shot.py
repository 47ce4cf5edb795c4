"""The splits of zero-shot multi-label recipes, from where their pictures are: published sets, or the pocket world.

Four sets of pictures (``figment.datasets.tagged``) over all classes of one label space: ``train`` and ``validation`` with
seen labels, of the unseen ones nothing known; ``zsl`` with unseen labels; ``gzsl`` with all. Classes are matched by name.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from figment.datasets.coco import read_coco_split
from figment.datasets.multilabel import MultiLabelSet, Split
from figment.datasets.nus_wide import nus_wide_space, read_nus_wide
from figment.datasets.open_images import read_open_images_split
from figment.datasets.tagged import TaggedPictures, write_tagged
from figment.devices import cores
from figment.errors import InputError
from figment.images import squash
from figment.label_vectors import read_names
from figment.labels import Label, LabelSpace
from figment.pictures import read_picture
from figment.types import Count, Integer, Number, PathText, Seed, Settings
from pocket.world import World

SPLITS: tuple[Split, ...] = ("train", "zsl", "gzsl")
BATCH = 256  # pictures decoded at a time
SCENES = 500  # drawn at a time


class SceneConfig(Settings):
    """Pocket scenes. Those to train on are of other artists' drawings than those that measure."""

    train_artwork: tuple[str, ...] = ("noto", "fluent")
    test_artwork: tuple[str, ...] = ("twemoji",)
    train: Count = Field(4000, gt=1)
    test: Count = 1000
    objects: Integer = Field(4, ge=1, le=4)  # at most in a scene


class ZeroShotConfig(Settings):
    """``labels`` says which classes are unseen: a YAML file (for ``nus_wide`` of the unseen alone), or a folder with the lists
    seen.txt and unseen.txt, a name a line. ``root`` is the folder of the data set, for ``pocket`` of its artwork."""

    source: Literal["pocket", "coco", "nus_wide", "open_images"]
    root: PathText
    labels: PathText
    validation: Number = Field(0.1, gt=0, lt=1)  # share of the training pictures that chooses the epoch
    scenes: SceneConfig = SceneConfig()
    seed: Seed = 0  # of the scenes and of what validates


def zero_shot_space(config: ZeroShotConfig) -> LabelSpace:
    """All classes, seen and unseen. Raises InputError if either kind is missing."""
    path = Path(config.labels)
    space = _listed(path) if path.is_dir() else LabelSpace.load(path)
    if config.source == "nus_wide":
        space = nus_wide_space(Path(config.root), space)
    for kind, ids in (("seen", space.seen_ids), ("unseen", space.unseen_ids)):
        if len(ids) < 2:
            raise InputError(
                f"data.labels {config.labels}: {len(ids)} {kind} classes; a zero-shot split has two or more ('unseen: true')"
            )
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
    config: ZeroShotConfig, space: LabelSpace, size: int, folder: Path, more: TaggedPictures | None = None
) -> dict[str, int]:
    """Write ``train``, ``validation``, ``zsl`` and ``gzsl`` below ``folder`` at ``size`` px; returns how many pictures each
    has. Pictures ``more`` are trained on too, and never validate."""
    sets: Sequence[_Drawn] | Sequence[_Files]
    sets = _draw(config, space, size) if config.source == "pocket" else _read(config, space, size)
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
    """Pictures of a published set, decoded when they are asked for."""

    def __init__(self, files: Sequence[Path], targets: Tensor, size: int):
        self.files, self.targets, self.size = files, targets, size

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, rows: list[int]) -> "_Files":
        return _Files([self.files[row] for row in rows], self.targets[rows], self.size)

    def batches(self) -> Iterator[Tensor]:
        with ThreadPoolExecutor(cores()) as pool:
            for start in range(0, len(self), BATCH):
                yield torch.stack(list(pool.map(self._picture, self.files[start : start + BATCH])))

    def _picture(self, file: Path) -> Tensor:
        return squash(read_picture(file), self.size)


class _Drawn:
    """Pictures in memory."""

    def __init__(self, pixels: Tensor, targets: Tensor):
        self.pixels, self.targets = pixels, targets

    def __len__(self) -> int:
        return len(self.pixels)

    def subset(self, rows: list[int]) -> "_Drawn":
        return _Drawn(self.pixels[rows], self.targets[rows])

    def batches(self) -> Iterator[Tensor]:
        return iter(self.pixels.split(BATCH))


def _read(config: ZeroShotConfig, space: LabelSpace, size: int) -> list[_Files]:
    """Of the classes that a split says nothing of, nothing is known."""
    root = Path(config.root)
    if config.source == "open_images":
        return [_Files(*read_open_images_split(root, split, space), size) for split in SPLITS]
    read, sets = read_coco_split if config.source == "coco" else read_nus_wide, []
    for split in SPLITS:
        found: MultiLabelSet = read(root, split, space)
        targets = torch.full((len(found), len(space)), -1, dtype=torch.int8)
        targets[:, [space.names.index(name) for name in found.space.names]] = found.targets.to(torch.int8)
        sets.append(_Files(found.files, targets, size))
    return sets


def _draw(config: ZeroShotConfig, space: LabelSpace, size: int) -> tuple[_Drawn, _Drawn, _Drawn]:
    """Training scenes hold seen objects alone; those with an unseen one among the test scenes are the ``zsl`` set."""
    scenes = config.scenes
    train = draw_scenes(config, scenes.train_artwork, space, space.seen_ids, scenes.train, config.seed, size)
    train.targets[:, list(space.unseen_ids)] = -1
    every = tuple(range(len(space)))
    test = draw_scenes(config, scenes.test_artwork, space, every, scenes.test, config.seed + 1, size)
    shows_unseen = (test.targets[:, list(space.unseen_ids)] > 0).any(1).nonzero().flatten()
    if not len(shows_unseen):
        raise InputError(f"data.scenes.test: none of {scenes.test} scenes shows an unseen object; draw more")
    return train, test.subset(shows_unseen.tolist()), test


def draw_scenes(
    config: ZeroShotConfig,
    artwork: Sequence[str],
    space: LabelSpace,
    ids: Sequence[int],
    count: int,
    seed: int,
    size: int,
) -> _Drawn:
    """``count`` scenes of the classes ``ids``, with targets (count, C) over the whole space."""
    files = [Path(config.root) / f"{name}.parquet" for name in artwork]
    absent = [file for file in files if not file.is_file()]
    if absent:
        raise InputError(f"data.root: {absent[0]} is not there; it comes with the clone by 'dvc pull' or 'make demo'")
    try:
        world = World(files, [space.names[i] for i in ids], size)
    except ValueError as error:
        raise InputError(f"data.labels {config.labels}: {error}; the pocket world draws its own 32 objects") from error
    if config.scenes.objects > len(ids):
        raise InputError(f"data.scenes.objects: {config.scenes.objects} in a scene of {len(ids)} classes; draw fewer")
    generator = torch.Generator().manual_seed(seed)
    pixels, targets = [], torch.zeros(count, len(space), dtype=torch.int8)
    for start in range(0, count, SCENES):
        drawn = world.crowd(min(SCENES, count - start), generator, config.scenes.objects)
        pixels.append((drawn.pixels * 255).round().byte())
        targets[start : start + len(drawn.pixels), list(ids)] = drawn.objects.to(torch.int8)
    return _Drawn(torch.cat(pixels), targets)
