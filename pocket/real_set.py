"""The pocket world's "real photographs": photos of drawings by artists whom neither the generator nor CLIP was trained on.

    python -m pocket.real_set data/real     # writes train, validation, unlabelled and test.parquet; prints who drew what

Reality is a population: a drawing is in one split only, so nothing that is learned from one split is a memory of another.
Drawings of one artist that differ in colour alone (books, taxis) count as one. A class with fewer drawings than splits has
images in some splits only; that is printed.
"""

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from pocket.artwork import OBJECTS, REALITY
from pocket.data_sets import artwork, write_parquet
from pocket.world import World

PER_CLASS = {"test": 80, "train": 60, "unlabelled": 100, "validation": 40}  # images; by which split is served first
SHARES = {"test": 0.4, "train": 0.25, "unlabelled": 0.2, "validation": 0.15}  # of a class's drawings
FILLING = (
    "streamline",
)  # drawn in outlines that no other artist has: only where a class lacks drawings, and never tested on
SAME_SHAPE = 0.3  # two sprites of an artist whose outlines and shading differ less are one drawing: see ``difference``


def difference(a: Tensor, b: Tensor) -> float:
    """Of two sprites (4, S, S), mirrored or not, whatever their colours: 1 less the correlation of their shading where both
    are opaque, or the share of their outlines that they do not have in common if that is larger."""

    def one_way(a: Tensor, b: Tensor) -> float:
        inside = (a[3] > 0.5) & (b[3] > 0.5)
        common = float(inside.sum() / ((a[3] > 0.5) | (b[3] > 0.5)).sum())
        if inside.sum() < 8:
            return 1.0
        shades = torch.stack([sprite[:3].mean(0)[inside] for sprite in (a, b)])
        spread = shades.std(1)
        if float(spread.min()) < 0.02:  # flat: only the outline tells
            return 1 - common
        return max(1 - common, 1 - float(torch.corrcoef(shades)[0, 1]))

    return min(one_way(a, b), one_way(a, b.flip(-1)))


def drawings(world: World, artists: Sequence[str], object_id: int) -> list[list[int]]:
    """The drawings of one object: each a list of rows of ``world.sprites`` that are the same, by the same of ``artists`` (N)."""
    groups: list[list[int]] = []
    small = F.avg_pool2d(world.sprites, 2)
    for row in (world.sprite_object == object_id).nonzero().flatten().tolist():
        near = [
            group
            for group in groups
            if artists[group[0]] == artists[row]
            and any(difference(small[row], small[other]) < SAME_SHAPE for other in group)
        ]
        groups = [group for group in groups if group not in near]
        groups.append([*(member for group in near for member in group), row])
    return groups


def allot(count: int, dice: random.Random) -> list[str]:
    """The split of each of ``count`` drawings, by ``SHARES``, but one for every split first, in their order if they are few."""
    quota = {split: max(1, round(share * count)) for split, share in SHARES.items()}
    while sum(quota.values()) > count:
        over = {split: (n > 1, n - SHARES[split] * count, -SHARES[split]) for split, n in quota.items()}
        quota[max(over, key=over.__getitem__)] -= 1
    quota["test"] += count - sum(quota.values())
    splits = [split for split, n in quota.items() for _ in range(n)]
    dice.shuffle(splits)
    return splits


def populations(world: World, artists: Sequence[str], seed: int) -> dict[str, dict[int, list[int]]]:
    """split -> object -> the rows of ``world.sprites`` that the split may show; an object may be absent from a split."""
    found: dict[str, dict[int, list[int]]] = {split: {} for split in PER_CLASS}
    for i, name in enumerate(world.objects):
        dice, groups = random.Random(f"{seed} {name}"), drawings(world, artists, i)
        own = [group for group in groups if artists[group[0]] not in FILLING]
        splits = allot(len(own), dice)
        lacking = [split for split in SHARES if split not in (*splits, "test")]
        spare = [group for group in groups if group not in own]
        dice.shuffle(spare)
        for split, group in [*zip(splits, own, strict=True), *zip(lacking, spare, strict=False)]:
            found[split].setdefault(i, []).extend(group)
    return found


def write_real_set(files: Sequence[Path], folder: Path, per_class: Mapping[str, int], seed: int) -> None:
    """One Parquet file a split (``label``, ``image``), ``per_class[split]`` single-object photos of every object in it."""
    world = World(list(files), list(OBJECTS))
    rows = [(file.stem, row) for file in files for row in pq.read_table(file).to_pylist() if row["object"] in OBJECTS]
    artists, names = [artist for artist, _ in rows], [f"{a}:{row['image']['path'][:-4]}" for a, row in rows]
    shown = populations(world, artists, seed)
    generator = torch.Generator().manual_seed(seed)
    for split in PER_CLASS:
        ids = torch.tensor(sorted(shown[split])).repeat(per_class[split])
        scenes = world.choose(shown[split]).sample(len(ids), generator, objects=ids, domain="photo", pairs=0)
        pixels = (scenes.pixels * 255).round().byte()
        write_parquet(folder / f"{split}.parquet", pixels, "label", [world.objects[i] for i in ids.tolist()])
    for i, name in enumerate(world.objects):
        own = {split: [names[row] for row in shown[split].get(i, [])] for split in PER_CLASS}
        absent = [split for split in PER_CLASS if not own[split]]
        print(f"{name}:", f"TOO FEW DRAWINGS, none in {', '.join(absent)};" if absent else "", own)


if __name__ == "__main__":
    write_real_set(artwork(list(REALITY)), Path(sys.argv[1]), PER_CLASS, seed=2026)
