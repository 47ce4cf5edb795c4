"""The pocket world's "real photographs": renders of artwork that neither the generator nor CLIP was trained on.

data/real was written by

    python -m pocket.real_set data/artwork/twemoji.parquet data/real
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from figment.files import atomic
from figment.images import encode
from pocket.artwork import OBJECTS
from pocket.world import World


def write_real_set(world: World, folder: Path, per_class: dict[str, int], seed: int) -> None:
    """One Parquet file a split (``label``, ``image``), ``per_class[split]`` single-object photos of every object."""
    generator = torch.Generator().manual_seed(seed)
    for split, count in per_class.items():
        ids = torch.arange(len(world.objects)).repeat(count)
        scenes = world.sample(len(ids), generator, objects=ids, domain="photo", pairs=0)
        pixels = (scenes.pixels * 255).round().byte().permute(0, 2, 3, 1).numpy()
        rows = [
            {"label": world.objects[i], "image": {"bytes": encode(picture, "png"), "path": f"{split}-{n:05}.png"}}
            for n, (i, picture) in enumerate(zip(ids.tolist(), pixels, strict=True))
        ]
        with atomic(folder / f"{split}.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(rows), partial, compression="none")


if __name__ == "__main__":
    artwork, folder = map(Path, sys.argv[1:3])
    write_real_set(World([artwork], list(OBJECTS)), folder, {"train": 60, "test": 80}, seed=2026)
