"""What a plan will cost, before it is rendered: counts, speed, time, disk and money."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from figment.images import encode
from figment.planning.plan import count_rows, ranges
from figment.synthesis.batches import fill_batches
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, resolve_dtype
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers

SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Estimate:
    """``utilisation``: the share of the device's matrix-multiply speed that rendering uses (MFU), measured here and now."""

    planned: int
    todo: int
    counts: Mapping[tuple[str, str], int]  # planned images of (class, trick)
    images_per_second: float
    utilisation: float
    hours: float
    gigabytes: float
    cost: float | None

    def metrics(self) -> dict[str, float]:
        values = {"images": self.todo, "images_per_second": self.images_per_second, "mfu": self.utilisation}
        values |= {"hours": self.hours, "gigabytes": self.gigabytes}
        return {f"estimate/{n}": v for n, v in (values | ({} if self.cost is None else {"cost": self.cost})).items()}

    def sentence(self) -> str:
        time_left = f"{self.hours * 60:.1f} min" if self.hours < 2 else f"{self.hours:.1f} h"
        cost = "" if self.cost is None else f", {self.cost:.2f} in money"
        return (
            f"{self.todo:,} of {self.planned:,} images to render at {self.images_per_second:.1f} images/s "
            f"({self.utilisation:.0%} of the device's peak): {time_left}, {self.gigabytes:.2f} GB{cost}"
        )

    def table(self) -> Table:
        """Images by class and trick, for a terminal."""
        classes, tricks = (sorted({key[i] for key in self.counts}) for i in (0, 1))
        table = Table(title=self.sentence(), title_justify="left")
        table.add_column("class")
        for trick in tricks:
            table.add_column(trick, justify="right")
        for name in classes[:SHOWN_CLASSES]:
            table.add_row(name, *(str(self.counts.get((name, trick), 0)) for trick in tricks))
        if len(classes) > SHOWN_CLASSES:
            others = classes[SHOWN_CLASSES:]
            sums = (str(sum(self.counts.get((name, trick), 0) for name in others)) for trick in tricks)
            table.add_row(f"{len(others)} others", *sums)
        return table


def estimate(plan: pa.Table | Path, pool: Pool, config: SynthesisConfig, renderers: Renderers) -> Estimate | None:
    """Render one batch a lane (``synthesise`` need not do these again) and say what all that is missing will take.

    None if nothing is missing.
    """
    counts: Counter[tuple[str, str]] = Counter()
    todo = 0
    for rows in ranges(plan, config.shard_size, ["image_id", "labels", "trick"]):
        todo += len(pool.missing(rows))
        labels = [" + ".join(names) for names in rows["labels"].to_pylist()]
        counts.update(zip(labels, rows["trick"].to_pylist(), strict=True))
    shards = (pool.missing(rows).to_pylist() for rows in ranges(plan, config.shard_size))
    batches = (batch for shard in shards for batch in fill_batches(shard, lambda: config.batch_size))
    first = next(batches, None)
    if first is None:
        return None
    generator = renderers.load(first[0]["model"], first[0]["revision"])
    lanes = renderers.lanes()
    seconds, sizes = calibrate(renderers, [first, *islice(batches, lanes - 1)], lanes, config)
    rate = len(sizes) / seconds * (config.workers if generator.device.type == "cuda" else 1)
    flops = flops_per_image(generator, first[0]) * len(sizes) / seconds
    hours = todo / rate / 3600
    return Estimate(
        planned=count_rows(plan),
        todo=todo,
        counts=counts,
        images_per_second=rate,
        utilisation=flops / peak_flops(generator.device, resolve_dtype(config)),
        hours=hours,
        gigabytes=float(np.mean(sizes)) * todo / 1e9,
        cost=None if config.price_per_hour is None else hours * config.price_per_hour,
    )


def calibrate(
    renderers: Renderers, batches: Sequence[list[Mapping[str, Any]]], lanes: int, config: SynthesisConfig
) -> tuple[float, list[int]]:
    """Seconds that the batches took side by side once all was warm, and the size in bytes of each picture's file."""

    def render(rows: Sequence[Mapping[str, Any]]) -> list[int]:
        made = list(renderers.render(rows))
        renderers.keep(made)
        arrays = torch.cat([r.pixels for _, r in made]).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [len(encode(np.ascontiguousarray(array), config.image_format)) for array in arrays]

    for batch in batches:
        renderers.load(batch[0]["model"], batch[0]["revision"])
    threads = partial(torch.set_num_threads, max(1, torch.get_num_threads() // lanes))
    with ThreadPoolExecutor(lanes, initializer=threads) as pool:
        warm = batches if config.compile else [[{**batch[0], "num_inference_steps": 2}] for batch in batches]
        list(pool.map(lambda rows: list(renderers.render(rows)), warm))
        start = time.perf_counter()
        sizes = [size for part in pool.map(render, batches) for size in part]
        return time.perf_counter() - start, sizes


def flops_per_image(generator: Generator, row: Mapping[str, Any]) -> float:
    """Floating-point operations of one picture, counted at two and three steps and extended to all."""
    counted = []
    for steps in (2, 3):
        with FlopCounterMode(display=False) as counter:
            generator.render([{**row, "num_inference_steps": steps}])
        counted.append(counter.get_total_flops())
    return counted[0] + (row["num_inference_steps"] - 2) * (counted[1] - counted[0])


@cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that this device reaches at best, all its threads together: the faster of a large matrix
    product and a large convolution (the libraries behind them differ on a CPU)."""
    size, batch = (8192, 64) if device.type == "cuda" else (1536, 2)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    picture = torch.randn(batch, 256, 64, 64, device=device, dtype=dtype)
    kernel = torch.randn(256, 256, 3, 3, device=device, dtype=dtype)
    products = 2.0 * size**3, 2.0 * picture.numel() * 256 * 9
    tasks = zip(products, (partial(torch.mm, a, b), partial(F.conv2d, picture, kernel, padding=1)), strict=True)
    return max(flops / min(_seconds(task, device) for _ in range(4)) for flops, task in tasks)


def _seconds(task: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
