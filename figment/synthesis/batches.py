"""Which rows are rendered together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from figment.planning.adapters import loras_of

Row = Mapping[str, Any]


def batch_key(row: Row) -> tuple:
    """What rows must share to be rendered in one batch: the weights with their LoRAs, the size, the schedule, and whether they
    start from an image, or render a part of one. Rows of guidance 1 or less skip half the work, so they go together. Prompts,
    scales and seeds differ freely."""
    weights = (row["model"], row["revision"], loras_of(row["adapter"]))
    schedule = (row["scheduler"], row["num_inference_steps"])
    mode = (bool(row["initial_image"]), bool(row.get("mask")), row["strength"])
    return *weights, row["height"], row["width"], *schedule, *mode, row["guidance_scale"] <= 1


def fill_batches(rows: Sequence[Row], size: Callable[[], int]) -> Iterator[list[Row]]:
    """Batches of ``size()`` rows of one kind, out of the missing rows of a shard.

    A batch never spans two shards: a shard's images, and so its bytes and hash, do not depend on where an earlier run
    was interrupted, although the last bits of an image may depend on its batch.
    """
    for _, group in groupby(sorted(rows, key=batch_key), key=batch_key):
        same = list(group)
        while same:
            count = size()
            yield same[:count]
            same = same[count:]
