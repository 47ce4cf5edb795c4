"""Renders what a plan asks for and the pool does not hold yet."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from time import perf_counter

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from figment.images import encode
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.generator import Generator
from figment.synthesis.pool import Pool

ENCODER_THREADS = 4
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}


@dataclass(frozen=True)
class SynthesisReport:
    """What one call did."""

    planned: int
    rendered: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.rendered / self.seconds if self.seconds else 0.0


def batch_key(row: dict) -> tuple:
    """What rows must share to be rendered in one batch; guidance 1 rows skip half the work, so they go together."""
    return row["height"], row["width"], row["num_inference_steps"], row["scheduler"], row["guidance_scale"] <= 1


def synthesise(
    plan: pa.Table,
    pool: Pool,
    config: GeneratorConfig,
    log: Callable[[int, dict[str, float]], None] = lambda done, metrics: None,
) -> SynthesisReport:
    """Render the rows of ``plan`` that ``pool`` lacks, shard by shard; call again after any interruption to go on.

    A shard is a range of the sorted plan: its content does not depend on the batch size. ``log`` receives
    (images done, {images_per_second}) after each shard.
    """
    todo = pool.missing(plan)
    start = perf_counter()
    if len(todo):
        generator = Generator(config)
        start = perf_counter()
        with (
            tqdm(total=len(plan), initial=len(plan) - len(todo), unit="img", desc="synthesis") as bar,
            ThreadPoolExecutor(ENCODER_THREADS) as encoders,
        ):
            for offset in range(0, len(todo), config.shard_size):
                shard = todo.slice(offset, config.shard_size)
                images = render_shard(shard, generator, config, encoders, bar)
                pool.add(shard, images, EXTENSIONS[config.image_format])
                done = offset + len(shard)
                log(done, {"images_per_second": done / (perf_counter() - start)})
    return SynthesisReport(len(plan), len(todo), perf_counter() - start)


def render_shard(
    shard: pa.Table, generator: Generator, config: GeneratorConfig, encoders: ThreadPoolExecutor, bar: tqdm
) -> list[bytes]:
    """Encoded images of a shard's rows, in their order. Encoding runs beside rendering, on ``encoders``."""
    rows = shard.to_pylist()
    to_bytes = partial(encode, image_format=config.image_format)
    futures = {}
    for _, group in groupby(sorted(rows, key=batch_key), key=batch_key):
        same = list(group)
        for i in range(0, len(same), config.batch_size):
            batch = same[i : i + config.batch_size]
            pixels = generator.render(batch).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
            for row, array in zip(batch, pixels, strict=True):
                futures[row["image_id"]] = encoders.submit(to_bytes, np.ascontiguousarray(array))
            bar.update(len(batch))
    return [futures[row["image_id"]].result() for row in rows]
