"""The data sets of the pocket recipes, in the formats of any data set, so that the recipes read them as a user's own.

    python -m pocket.data_sets data        # writes data/scenes and data/drawings; data/real is pocket.real_set's

* ``scenes``: one to four objects an image, with a list of ``labels``. train.parquet shows seen objects by the teachers,
  test.parquet all of them by the artists of reality.
* ``drawings``: test.parquet, single objects by the teachers with a ``label``: how the things look that no "photo" shows.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from figment.files import atomic
from figment.images import encode
from figment.labels import LabelSpace
from pocket.artwork import OBJECTS, REALITY, TEACHERS
from pocket.world import World

LABELS = Path("configs/labels/pocket_24_8.yaml")
ARTWORK = Path("data/artwork")
CHUNK = 500  # scenes drawn at a time


def artwork(artists: Sequence[str], folder: Path = ARTWORK) -> list[Path]:
    return [folder / f"{artist}.parquet" for artist in artists]


def draw_scenes(
    files: Sequence[Path],
    names: Sequence[str],
    shown: Sequence[str],
    count: int,
    seed: int,
    size: int = 32,
    most: int = 4,
) -> tuple[Tensor, Tensor]:
    """``count`` scenes of 1 to ``most`` of the objects ``shown``: pixels (count, 3, S, S) uint8, and targets (count, C) int8
    over ``names``."""
    world, generator = World(list(files), list(shown), size), torch.Generator().manual_seed(seed)
    columns = [list(names).index(name) for name in shown]
    pixels, targets = [], torch.zeros(count, len(names), dtype=torch.int8)
    for start in range(0, count, CHUNK):
        drawn = world.crowd(min(CHUNK, count - start), generator, most)
        pixels.append((drawn.pixels * 255).round().byte())
        targets[start : start + len(drawn.pixels), columns] = drawn.objects.to(torch.int8)
    return torch.cat(pixels), targets


def write_scenes(
    folder: Path,
    space: LabelSpace,
    train: int,
    test: int,
    seed: int,
    teachers: Sequence[Path] | None = None,
    reality: Sequence[Path] | None = None,
    most: int = 4,
) -> None:
    """train.parquet of ``space``'s seen objects by ``teachers``, test.parquet of all by the artists of ``reality``."""
    seen = [space.names[i] for i in space.seen_ids]
    for split, files, shown, count, offset in (
        ("train", teachers or artwork(list(TEACHERS)), seen, train, 0),
        ("test", reality or artwork(list(REALITY)), space.names, test, 1),
    ):
        pixels, targets = draw_scenes(files, space.names, shown, count, seed + offset, most=most)
        labels = [[space.names[i] for i in row.nonzero().flatten().tolist()] for row in targets]
        write_parquet(folder / f"{split}.parquet", pixels, "labels", labels)


def write_photos(file: Path, world: World, per_class: int, seed: int) -> None:
    """``per_class`` images of every object of the world by itself."""
    ids = torch.arange(len(world.objects)).repeat(per_class)
    scenes = world.sample(len(ids), torch.Generator().manual_seed(seed), objects=ids, domain="photo", pairs=0)
    pixels = (scenes.pixels * 255).round().byte()
    write_parquet(file, pixels, "label", [world.objects[i] for i in ids.tolist()])


def write_parquet(file: Path, pixels: Tensor, column: str, values: Sequence[object]) -> None:
    """Images (N, 3, S, S) uint8 as PNG, each with a value in ``column``, as data sets lie on the Hugging Face Hub."""
    rows = [
        {"image": {"bytes": encode(image, "png"), "path": f"{file.stem}-{n:05}.png"}, column: value}
        for n, (image, value) in enumerate(zip(pixels.permute(0, 2, 3, 1).numpy(), values, strict=True))
    ]
    with atomic(file) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial, compression="zstd")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    write_scenes(root / "scenes", LabelSpace.load(LABELS), train=2000, test=1000, seed=0)
    write_photos(root / "drawings" / "test.parquet", World(artwork(list(TEACHERS)), list(OBJECTS)), 40, seed=2027)
