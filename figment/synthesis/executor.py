"""Renders what a plan asks for and the pool does not hold yet.

Rows flow: ranges of the plan -> what is missing of each -> batches -> lanes (threads that render) -> encoders (threads that
make files of images) -> one writer of shards. The device never waits for a file; at most a few batches are under way.
"""

from collections import deque
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

from figment.images import contrasts_of, encode
from figment.planning.plan import check_rows, check_sorted, ranges, rechunk
from figment.progress import Progress
from figment.synthesis.batches import fill_batches
from figment.synthesis.budget import Budget
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.marking import xmp_packet
from figment.synthesis.pool import Pool, shard_file
from figment.synthesis.prompt_lengths import LongPrompts
from figment.synthesis.renderers import Renderers
from figment.synthesis.settings import check_settings

ENCODERS = 4  # threads
WAITING_SHARDS = 2  # finished and not yet written; more would fill the memory while a disk is slow
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}


class Observer(Protocol):
    """Looks at images while they are tensors on the device: a CLIP that scores them before they are files."""

    def look(self, rows: Sequence[Mapping[str, Any]], pixels: Tensor) -> Sequence[Any]:
        """What to keep of each image of ``pixels`` (B, 3, H, W) uint8. Called from several threads."""

    def keep(self, file: str, kept: Mapping[str, Any]) -> None:
        """What was kept of a shard's images, by id, before the shard is written: whoever finds the shard finds this."""

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
    """A shard whose images are being made."""

    rows: pa.Table
    images: dict[str, dict[str, Any]] = field(default_factory=dict)


def synthesise(
    plan: pa.Table | Path,
    pool: Pool,
    config: SynthesisConfig,
    *,
    part: tuple[int, int] = (0, 1),
    renderers: Renderers | None = None,
    observer: Observer | None = None,
    budget: Budget | None = None,
    log: Callable[[dict[str, float], int], None] = lambda metrics, done: None,
    engine: "Callable[..., Run] | None" = None,
) -> SynthesisReport:
    """Render the rows of ``plan`` that ``pool`` lacks; call again after any interruption to go on.

    Shard k holds rows k * shard_size ... of the sorted plan, whatever the batch size or the number of workers. ``part``
    (i, n) takes every n-th shard from the i-th: n processes with the same plan and pool do all of it, and each reads again
    only the files that hold some of its own. ``log`` receives
    ({images_per_second, hours_left, ...}, images done) after each shard. ``engine`` renders the shards: by default ``Run``, in
    this process.
    """
    check_rows(part_of(ranges(plan, config.shard_size), part), plan)
    check_sorted(plan)
    pool.refresh()
    check_settings(plan, pool, config)
    mine = part_of(ranges(plan, config.shard_size, ["image_id"]), part)
    pool.verify({file for rows in mine for file in pool.near(rows)} if part[1] > 1 else None)
    counted = [
        (len(rows), len(pool.missing(rows))) for rows in part_of(ranges(plan, config.shard_size, ["image_id"]), part)
    ]
    planned, todo = (sum(column) for column in zip(*counted, strict=True)) if counted else (0, 0)
    run = (engine or Run)(pool, config, renderers or Renderers(config), observer, budget or Budget(config), log)
    if todo:
        run.render_all(missing_shards(plan, pool, config.shard_size, part), planned, todo)
    pool.seal()
    seconds = perf_counter() - run.start if todo else 0.0
    return SynthesisReport(planned, run.done, seconds, run.renderers.batch_size, run.stopped)


def part_of(shards: Iterator[pa.Table], part: tuple[int, int]) -> Iterator[pa.Table]:
    """Every n-th shard from the i-th, ``part`` being (i, n)."""
    return (rows for number, rows in enumerate(shards) if number % part[1] == part[0])


def missing_shards(plan: pa.Table | Path, pool: Pool, size: int, part: tuple[int, int]) -> Iterator[pa.Table]:
    """What is to be rendered, a shard at a time: first the ranges of the plan of which nothing is there, then what is
    missing here and there in the others (a class's prompts were edited, a quota was topped up), put together."""
    yield from (rows for rows in part_of(ranges(plan, size), part) if len(pool.missing(rows)) == len(rows))
    gaps = ((rows, pool.missing(rows)) for rows in part_of(ranges(plan, size), part))
    yield from rechunk((lacking for rows, lacking in gaps if 0 < len(lacking) < len(rows)), size)


@contextmanager
def _threads(
    count: int, initializer: Callable[[], None] | None = None, keeps: bool = False
) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads. After an error it finishes what it was given if it ``keeps`` it, and else drops it."""
    pool = ThreadPoolExecutor(count, initializer=initializer)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=not keeps)
        raise
    pool.shutdown()


class Run:
    """One call of ``synthesise``: its threads, its open shards and its counts."""

    def __init__(
        self,
        pool: Pool,
        config: SynthesisConfig,
        renderers: Renderers,
        observer: Observer | None,
        budget: Budget,
        log: Callable[..., None],
    ):
        self.pool, self.config, self.renderers = pool, config, renderers
        self.observer, self.budget, self.log = observer, budget, log
        self.open: dict[str, OpenShard] = {}  # image_id -> its shard
        self.finished: SimpleQueue[Future] = SimpleQueue()  # lanes that are done with a batch
        self.writing: deque[Future] = deque()
        self.lengths = LongPrompts()
        self.done = 0
        self.stopped = ""
        self.start = perf_counter()

    def render_all(self, shards: Iterator[pa.Table], planned: int, todo: int) -> None:
        """Render all rows of ``shards``, or as many shards as the budget allows."""
        admitted = self.admit(shards)
        first = next(admitted, None)
        if first is None:
            return
        lanes = self.renderers.lanes()
        threads = max(1, torch.get_num_threads() // lanes)
        self.start = perf_counter()
        under_way = 0
        with (
            Progress(planned, "synthesis", "img", planned - todo) as bar,
            _threads(1, keeps=True) as self.writer,
            _threads(ENCODERS) as self.encoders,
            _threads(lanes, partial(torch.set_num_threads, threads)) as self.lanes,
        ):
            for shard in chain([first], admitted):
                for batch in fill_batches(shard, lambda: self.renderers.batch_size):
                    while under_way > lanes:
                        under_way -= self.collect(bar)
                    self.lanes.submit(self.render, batch).add_done_callback(self.finished.put)
                    under_way += 1
            while under_way:
                under_way -= self.collect(bar)
            self.wait_for_writer(0)
        self.lengths.summary()

    def admit(self, shards: Iterator[pa.Table]) -> Iterator[list[dict]]:
        """The rows of the shards that the budget allows, one shard at a time; their generators are loaded."""
        for rows in self.affordable(shards):
            records = rows.to_pylist()
            for model, revision in sorted({(row["model"], row["revision"]) for row in records}):
                generator = self.renderers.load(model, revision)
                own = [row for row in records if (row["model"], row["revision"]) == (model, revision)]
                self.lengths.look(own, generator.family, generator.pipeline)
                if self.config.offload != "none":
                    generator.encode_ahead(own)
            shard = OpenShard(rows)
            self.open |= {row["image_id"]: shard for row in records}
            yield records

    def affordable(self, shards: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The shards, for as long as the budget lasts."""
        for rows in shards:
            self.stopped = self.budget.refuses(len(rows))
            if self.stopped:
                return
            yield rows

    def render(self, batch: Sequence[Mapping[str, Any]]) -> list[Future]:
        """In a lane: render a batch and hand its images to the encoders, a part to each."""
        futures = []
        for rows, rendering in self.renderers.render(batch):
            pixels = rendering.pixels.mul(255).round().byte()
            contrast = contrasts_of(rendering.pixels)
            seen = self.observer.look(rows, pixels) if self.observer else [None] * len(rows)
            size = -(-len(rows) // ENCODERS)
            for some in (slice(i, i + size) for i in range(0, len(rows), size)):
                job = (rows[some], pixels[some], contrast[some], rendering.unsafe[some], seen[some])
                futures.append(self.encoders.submit(self.encode, *job))
        return futures

    def encode(
        self,
        rows: Sequence[Mapping[str, Any]],
        pixels: Tensor,
        contrast: Tensor,
        unsafe: Sequence[bool],
        seen: Sequence,
    ) -> dict[str, dict[str, Any]]:
        """In an encoder: what the pool keeps of each image, by id."""
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

    def collect(self, bar: Progress) -> int:
        """Wait for one batch, put its images into their shards, hand those that are complete to the writer. Returns 1."""
        for future in self.finished.get().result():
            for image_id, image in future.result().items():
                shard = self.open.pop(image_id)
                shard.images[image_id] = image
                self.done += 1
                self.budget.done += 1
                if len(shard.images) == len(shard.rows):
                    self.wait_for_writer(WAITING_SHARDS)
                    self.writing.append(self.writer.submit(self.write, shard))
                    self.report(bar)
            bar.update(len(future.result()))
        self.wait_for_writer(WAITING_SHARDS)
        return 1

    def wait_for_writer(self, most: int) -> None:
        """Wait until at most so many shards are being written, and raise what went wrong with any that are done."""
        while self.writing and (len(self.writing) > most or self.writing[0].done()):
            self.writing.popleft().result()

    def write(self, shard: OpenShard) -> None:
        """In the writer: what the observer kept, then the shard, so that no kill leaves one without the other."""
        ids = shard.rows["image_id"].to_pylist()
        images = [shard.images[image_id] for image_id in ids]
        if self.observer:
            self.observer.keep(shard_file(ids), {i: p["seen"] for i, p in zip(ids, images, strict=True)})
        columns = {name: [p[name] for p in images] for name in ("image", "contrast", "unsafe")}
        self.pool.add(shard.rows, columns)

    def report(self, bar: Progress) -> None:
        """The numbers of the progress bar, to the log."""
        rate = self.done / (perf_counter() - self.start)
        metrics = {"images_per_second": rate, "hours_left": (bar.total - bar.n) / rate / 3600}
        if self.observer:
            metrics |= self.observer.progress()
            bar.set_postfix({name: f"{value:.1%}" for name, value in self.observer.progress().items()})
        self.log(metrics, self.done)
