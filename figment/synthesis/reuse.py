"""Images that other runs have rendered, taken where a plan asks for the same: an image is its row, whoever rendered it."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from figment.errors import InputError
from figment.planning.plan import CHUNK, ranges
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.pool import Pool
from figment.synthesis.settings import last_config, precision

COLUMNS = ("image", "contrast", "unsafe")


def take_images(plan: pa.Table | Path, pool: Pool, config: SynthesisConfig) -> int:
    """Take into ``pool`` what it lacks of ``plan`` and the pools of ``config.reuse`` hold; how many images. Shards of which it
    lacks every image are linked, and so are on the disk, and in DVC's cache, once; other images are copied.

    Raises InputError for a pool that holds none, or images of another dtype or format."""
    others = [_open(Path(folder), f"synthesis.reuse[{i}]", config) for i, folder in enumerate(config.reuse)]
    taken = sum(_link_shards(plan, pool, other) for other in others)
    for rows in ranges(plan, config.shard_size) if others else ():
        for other in others:
            lacking = pool.missing(rows)
            absent = set(other.missing(lacking)["image_id"].to_pylist())
            wanted = [i for i in lacking["image_id"].to_pylist() if i not in absent]
            if wanted:
                batches = other.read(wanted, [*rows.column_names, *COLUMNS])
                found = pa.Table.from_batches(list(batches)).sort_by("image_id")
                pool.add(found.select(rows.column_names), {name: found[name].to_pylist() for name in COLUMNS})
                taken += len(wanted)
    return taken


def _link_shards(plan: pa.Table | Path, pool: Pool, other: Pool) -> int:
    lacking: Counter[str] = Counter()  # images, by the shard of ``other`` that holds them
    for rows in ranges(plan, CHUNK, ["image_id"]):
        ids = pool.missing(rows)["image_id"].combine_chunks()
        for file in other.near(rows):
            lacking[file] += pc.sum(pc.is_in(other.ids_of(file), ids)).as_py() or 0
    whole = [file for file, images in lacking.items() if images == other.shards[file].rows]
    return sum(pool.take(other, file).rows for file in whole)


def _open(folder: Path, where: str, config: SynthesisConfig) -> Pool:
    other = Pool(folder)
    other.verify()
    if not len(other):
        raise InputError(f"{where}: {folder} holds no images; give the folder images/ of a run's output")
    theirs = last_config(other)
    for name, found, ours in (
        ("dtype", precision(theirs), precision(config)),
        ("image_format", theirs.image_format, config.image_format),
    ):
        if found != ours:
            raise InputError(f"{where}: {folder} has {name} {found}, this run {ours}; use the same, or leave it out")
    return other
