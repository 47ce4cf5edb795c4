"""What a plan will cost, before it is rendered: counts, speed, time, disk and money."""

import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from figment.images import encode
from figment.planning.plan import check_rows, count_rows, ranges
from figment.synthesis.batches import batch_key, fill_batches
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, resolve_dtype
from figment.synthesis.marking import xmp_packet
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers

SHOWN_CLASSES = 20
MAX_LANES = 64


@dataclass(frozen=True)
class Estimate:
    """``utilisation``: the share of the device's matrix-multiply speed that rendering uses (MFU); ``memory``: the most gigabytes
    that it took, of the GPU, or of this process on a CPU. Both are measured here and now."""

    planned: int
    todo: int
    counts: Mapping[tuple[str, str], int]  # planned images of (class, trick)
    images_per_second: float
    utilisation: float
    hours: float
    gigabytes: float
    memory: float
    cost: float | None

    def metrics(self) -> dict[str, float]:
        values = {"images": self.todo, "images_per_second": self.images_per_second, "mfu": self.utilisation}
        values |= {"hours": self.hours, "gigabytes": self.gigabytes, "memory": self.memory}
        return {f"estimate/{n}": v for n, v in (values | ({} if self.cost is None else {"cost": self.cost})).items()}

    def sentence(self) -> str:
        time_left = f"{self.hours * 60:.1f} min" if self.hours < 2 else f"{self.hours:.1f} h"
        cost = "" if self.cost is None else f", {self.cost:.2f} in money"
        return (
            f"{self.todo:,} of {self.planned:,} images to render at {self.images_per_second:.1f} images/s "
            f"({self.utilisation:.0%} of the device's peak): {time_left}, {self.gigabytes:.2f} GB of images, "
            f"{self.memory:.2f} GB of memory at most{cost}"
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
    """Render one batch a lane of each kind (``synthesise`` need not do these again) and say what all will take.

    None if nothing is missing. A damaged shard is set aside first, so that its images count as missing.
    """
    pool.verify()
    counts: Counter[tuple[str, str]] = Counter()
    kinds: Counter[tuple] = Counter()
    samples: dict[tuple, list[list[Mapping[str, Any]]]] = {}
    shards = 0
    check_rows(ranges(plan, config.shard_size), plan)
    for rows in ranges(plan, config.shard_size):
        labels = [" + ".join(names) for names in rows["labels"].to_pylist()]
        counts.update(zip(labels, rows["trick"].to_pylist(), strict=True))
        missing = pool.missing(rows).to_pylist()
        shards += bool(missing)
        for batch in fill_batches(missing, lambda: config.batch_size):
            kinds[batch_key(batch[0])] += len(batch)
            samples.setdefault(batch_key(batch[0]), []).append(batch)
            del samples[batch_key(batch[0])][MAX_LANES:]
    if not kinds:
        return None
    seconds = flops = size = 0.0
    for kind, todo in kinds.items():
        row = samples[kind][0][0]
        generator = renderers.load(row["model"], row["revision"])
        taken, sizes = calibrate(renderers, samples[kind][: renderers.lanes()], config)
        seconds += todo * taken / len(sizes)
        flops += todo * flops_per_image(generator, row)
        size += todo * float(np.mean(sizes))
    on_gpu = generator.device.type == "cuda"  # on a CPU actors share the cores that one process would use
    actors = min(config.workers or torch.cuda.device_count(), shards) if on_gpu and config.engine == "ray" else 1
    hours = seconds / 3600 / actors
    return Estimate(
        planned=count_rows(plan),
        todo=kinds.total(),
        counts=counts,
        images_per_second=kinds.total() / hours / 3600,
        utilisation=flops / seconds / peak_flops(generator.device, resolve_dtype(config)),
        hours=hours,
        gigabytes=size / 1e9,
        memory=peak_memory(generator.device) / 1e9,
        cost=None if config.price_per_hour is None else hours * config.price_per_hour,
    )


def calibrate(
    renderers: Renderers, batches: Sequence[list[Mapping[str, Any]]], config: SynthesisConfig
) -> tuple[float, list[int]]:
    """Seconds that the batches took side by side once all was warm, and the size in bytes of each image's file."""

    def render(rows: Sequence[Mapping[str, Any]]) -> list[int]:
        made = list(renderers.render(rows))
        renderers.keep(made)
        arrays = torch.cat([r.pixels for _, r in made]).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        marked = zip(rows, arrays, strict=True)
        return [len(encode(np.ascontiguousarray(a), config.image_format, xmp_packet(r["image_id"]))) for r, a in marked]

    threads = partial(torch.set_num_threads, max(1, torch.get_num_threads() // len(batches)))
    with ThreadPoolExecutor(len(batches), initializer=threads) as pool:
        warm = batches if config.compile else [[few_steps(row, 2) for row in batch] for batch in batches]
        list(pool.map(lambda rows: list(renderers.render(rows)), warm))
        start = time.perf_counter()
        sizes = [size for part in pool.map(render, batches) for size in part]
        return time.perf_counter() - start, sizes


def peak_memory(device: torch.device) -> int:
    """The most bytes that were taken so far: on a GPU by tensors, elsewhere by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def few_steps(row: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The row with so many steps that about ``steps`` of them are run (image-to-image runs a share)."""
    return {**row, "image_id": "", "num_inference_steps": math.ceil(steps / row["strength"])}


def steps_run(row: Mapping[str, Any]) -> int:
    return int(row["num_inference_steps"] * row["strength"])


def flops_per_image(generator: Generator, row: Mapping[str, Any]) -> float:
    """Floating-point operations of one image, counted at two lengths of the schedule and extended to all steps."""
    few, more = few_steps(row, 2), few_steps(row, 4)
    counted = []
    for short in (few, more):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            generator._render([short])
        counted.append(counter.get_total_flops())
    a_step = (counted[1] - counted[0]) / (steps_run(more) - steps_run(few))
    return counted[0] + (steps_run(row) - steps_run(few)) * a_step


@cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that this device reaches at best, all its threads together: the faster of a large matrix
    product and a large convolution (the libraries behind them differ on a CPU)."""
    size, batch = (8192, 64) if device.type == "cuda" else (1536, 2)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    image = torch.randn(batch, 256, 64, 64, device=device, dtype=dtype)
    kernel = torch.randn(256, 256, 3, 3, device=device, dtype=dtype)
    products = 2.0 * size**3, 2.0 * image.numel() * 256 * 9
    tasks = zip(products, (partial(torch.mm, a, b), partial(F.conv2d, image, kernel, padding=1)), strict=True)
    return max(flops / min(_seconds(task, device) for _ in range(4)) for flops, task in tasks)


def _seconds(task: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    task()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
