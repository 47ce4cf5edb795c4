"""Renders what a plan asks for and the pool does not hold yet.

Rows flow: ranges of the plan -> what is missing of each -> batches -> lanes (threads that render) -> encoders (threads that
make files of pictures) -> one writer of shards. The device never waits for a file; at most a few batches are under way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm import tqdm

from figment.errors import InputError
from figment.images import encode
from figment.planning.plan import ranges
from figment.synthesis.batches import fill_batches
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.marking import xmp_packet
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.settings import check_settings

ENCODERS = 4  # threads
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}


class Observer(Protocol):
    """Looks at pictures while they are tensors on the device: a CLIP that scores them before they are files."""

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[Any]:
        """What to keep of each picture of ``pixels`` (B, 3, H, W) uint8. Called from several threads."""

    def keep(self, file: str, kept: Mapping[str, Any]) -> None:
        """What was kept of the images of a finished shard, by id."""

    def progress(self) -> dict[str, float]:
        """Numbers for the progress bar and the log, such as the accepted share."""


@dataclass
class SynthesisReport:
    """What one call did. ``stopped`` says why, if not everything planned is there now."""

    planned: int
    rendered: int
    seconds: float
    batch_size: int
    stopped: str = ""

    @property
    def images_per_second(self) -> float:
        return self.rendered / self.seconds if self.seconds else 0.0


@dataclass
class OpenShard:
    """A shard whose pictures are being made."""

    rows: pa.Table
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)


def synthesise(
    plan: pa.Table | Path,
    pool: Pool,
    config: SynthesisConfig,
    *,
    part: tuple[int, int] = (0, 1),
    renderers: Renderers | None = None,
    observer: Observer | None = None,
    log: Callable[[dict[str, float], int], None] = lambda metrics, done: None,
) -> SynthesisReport:
    """Render the rows of ``plan`` that ``pool`` lacks; call again after any interruption to go on.

    Shard k holds rows k * shard_size ... of the sorted plan, whatever the batch size or the number of workers. ``part``
    (i, n) takes every n-th shard from the i-th: n processes with the same plan and pool do all of it. ``log`` receives
    ({images_per_second, hours_left, ...}, images done) after each shard.
    """
    check_settings(plan, pool, config)
    pool.verify()
    counted = [
        (len(rows), len(pool.missing(rows))) for rows in _part(ranges(plan, config.shard_size, ["image_id"]), part)
    ]
    planned, todo = (sum(column) for column in zip(*counted, strict=True)) if counted else (0, 0)
    run = Run(pool, config, renderers or Renderers(config), observer, log)
    if todo:
        run.render_all(_part(ranges(plan, config.shard_size), part), planned, todo)
    pool.seal()
    seconds = perf_counter() - run.start if todo else 0.0
    return SynthesisReport(planned, run.done, seconds, run.renderers.batch_size, run.stopped)


@contextmanager
def _threads(count: int, initializer: Callable[[], None] | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; after an error what it has not begun is dropped."""
    pool = ThreadPoolExecutor(count, initializer=initializer)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _part(shards: Iterator[pa.Table], part: tuple[int, int]) -> Iterator[pa.Table]:
    return (rows for number, rows in enumerate(shards) if number % part[1] == part[0])


class Run:
    """One call of ``synthesise``: its threads, its open shards and its counts."""

    def __init__(
        self,
        pool: Pool,
        config: SynthesisConfig,
        renderers: Renderers,
        observer: Observer | None,
        log: Callable[..., None],
    ):
        self.pool, self.config, self.observer, self.log = pool, config, observer, log
        self.renderers = renderers
        self.open: dict[str, OpenShard] = {}  # image_id -> its shard
        self.finished: SimpleQueue[Future] = SimpleQueue()  # encoded parts of batches, and lanes that are done
        self.written: list[Future] = []
        self.admitted = self.done = 0
        self.stopped = ""
        self.start = perf_counter()

    def render_all(self, shards: Iterator[pa.Table], planned: int, todo: int) -> None:
        """Render what is missing of ``shards``."""
        admitted = self.admit(shards)
        first = next(admitted, None)
        if first is None:
            return
        lanes = self.renderers.lanes()
        threads = max(1, torch.get_num_threads() // lanes)
        self.start = perf_counter()
        under_way = 0
        with (
            tqdm(total=planned, initial=planned - todo, unit="img", desc="synthesis") as bar,
            _threads(lanes, partial(torch.set_num_threads, threads)) as self.lanes,
            _threads(ENCODERS) as self.encoders,
            _threads(1) as self.writer,
        ):
            for shard in chain([first], admitted):
                for batch in fill_batches(shard, lambda: self.renderers.batch_size):
                    while under_way >= lanes + 1:
                        under_way -= self.collect(bar)
                    self.lanes.submit(self.render, batch).add_done_callback(self.finished.put)
                    under_way += 1
            while under_way:
                under_way -= self.collect(bar)
            for future in self.written:
                future.result()

    def admit(self, shards: Iterator[pa.Table]) -> Iterator[list[dict]]:
        """Shards' missing rows, one shard at a time, for as long as the budget lasts."""
        for shard in shards:
            rows = self.pool.missing(shard)
            if not len(rows):
                continue
            self.stopped = self.over_budget(len(rows))
            if self.stopped:
                return
            self.admitted += len(rows)
            records = rows.to_pylist()
            for model, revision in sorted({(row["model"], row["revision"]) for row in records}):
                self.renderers.load(model, revision)
            shard_under_way = OpenShard(rows)
            self.open |= {row["image_id"]: shard_under_way for row in records}
            yield records

    def over_budget(self, more: int) -> str:
        """Why ``more`` images must not be begun, or nothing."""
        images, hours = self.config.max_images, self.config.max_hours
        if images is not None and self.admitted + more > images:
            if not self.admitted:
                raise InputError(
                    f"synthesis.max_images: {images} is less than one shard of {more} images; raise it, or lower shard_size"
                )
            return f"max_images {images} would be exceeded"
        if hours is not None and self.done:
            expected = (perf_counter() - self.start) * (self.admitted + more) / self.done / 3600
            if expected > hours:
                return f"max_hours {hours:g} would be exceeded"
        return ""

    def render(self, batch: Sequence[Mapping[str, Any]]) -> list[Future]:
        """In a lane: render a batch and hand its pictures to the encoders."""
        futures = []
        for rows, rendering in self.renderers.render(batch):
            pixels = rendering.pixels.mul(255).round().byte()
            contrast = rendering.pixels.flatten(2).std(2).mean(1)
            seen = self.observer.look(rows, pixels) if self.observer else [None] * len(rows)
            futures.append(self.encoders.submit(self.encode, rows, pixels, contrast, rendering.unsafe, seen))
        return futures

    def encode(
        self,
        rows: Sequence[Mapping[str, Any]],
        pixels: Tensor,
        contrast: Tensor,
        unsafe: Sequence[bool],
        seen: Sequence,
    ) -> dict[str, dict[str, Any]]:
        """In an encoder: what the pool keeps of each picture, by id."""
        arrays, contrasts = pixels.permute(0, 2, 3, 1).cpu().numpy(), contrast.tolist()
        image_format = self.config.image_format
        return {
            row["image_id"]: {
                "image": {
                    "bytes": encode(np.ascontiguousarray(array), image_format, xmp_packet(row["image_id"])),
                    "path": f"{row['image_id']}.{EXTENSIONS[image_format]}",
                },
                "contrast": row_contrast,
                "unsafe": flag,
                "seen": look,
            }
            for row, array, row_contrast, flag, look in zip(rows, arrays, contrasts, unsafe, seen, strict=True)
        }

    def collect(self, bar: tqdm) -> int:
        """Wait for one batch, put its pictures into their shards, write those that are complete. Returns 1."""
        for future in self.finished.get().result():
            for image_id, picture in future.result().items():
                shard = self.open.pop(image_id)
                shard.pictures[image_id] = picture
                self.done += 1
                if len(shard.pictures) == len(shard.rows):
                    self.written = [w for w in self.written if not w.done() or w.result()]
                    self.written.append(self.writer.submit(self.write, shard))
                    self.report(bar)
            bar.update(len(future.result()))
        return 1

    def write(self, shard: OpenShard) -> None:
        """In the writer: the shard's file, then what the observer kept of it."""
        pictures = [shard.pictures[image_id] for image_id in shard.rows["image_id"].to_pylist()]
        columns = {name: [p[name] for p in pictures] for name in ("image", "contrast", "unsafe")}
        written = self.pool.add(shard.rows, columns)
        if self.observer:
            self.observer.keep(written.file, {i: p["seen"] for i, p in shard.pictures.items()})

    def report(self, bar: tqdm) -> None:
        """The numbers of the progress bar, to the log."""
        rate = self.done / (perf_counter() - self.start)
        metrics = {"images_per_second": rate, "hours_left": (bar.total - bar.n) / rate / 3600}
        if self.observer:
            metrics |= self.observer.progress()
            bar.set_postfix({name: f"{value:.1%}" for name, value in self.observer.progress().items()})
        self.log(metrics, self.done)
