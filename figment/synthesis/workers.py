"""Several processes on this machine, one a GPU: each takes every n-th shard, all write into one pool."""

import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from figment.errors import InputError, ending
from figment.files import write_json
from figment.planning.plan import ranges
from figment.synthesis.budget import Budget
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import Observer, SynthesisReport, synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.settings import check_settings

Log = Callable[[dict[str, float], int], None]
GRACE = 60  # seconds in which a worker ends that was asked to


@dataclass(frozen=True)
class Work:
    """What a pool lacks of one part of a plan. ``firsts``: the first id of every shard of the whole plan; ``lacking``: the images
    missing in each of the part's shards."""

    part: tuple[int, int]
    firsts: Sequence[str]
    planned: int
    lacking: Sequence[int]

    @classmethod
    def of(cls, plan: Path, pool: Pool, shard_size: int, part: tuple[int, int]) -> "Work":
        firsts, planned, lacking = [], 0, []
        for number, ids in enumerate(ranges(plan, shard_size, ["image_id"])):
            firsts.append(ids["image_id"][0].as_py())
            if number % part[1] == part[0]:
                planned += len(ids)
                lacking.append(len(pool.missing(ids)))
        return cls(part, firsts, planned, lacking)

    def made(self, pool: Pool, before: set[str]) -> int:
        """Images of this part in the pool's shards that were not there ``before``; other parts may be adding theirs."""
        new = (shard for file, shard in pool.shards.items() if file not in before)
        i, n = self.part
        return sum(shard.rows for shard in new if (bisect_right(self.firsts, shard.first) - 1) % n == i)


def synthesise_by_workers(
    plan: Path,
    pool: Pool,
    config: SynthesisConfig,
    *,
    renderers: Renderers,
    clip: Mapping[str, Any] | None = None,
    part: tuple[int, int] = (0, 1),
    observer: Observer | None = None,
    budget: Budget | None = None,
    log: Log = lambda metrics, done: None,
) -> SynthesisReport:
    """``synthesise`` by ``config.workers`` processes, or as many as there are shards to render and the budget allows; with one,
    in this process. What they leave undone (the last shard of a budget) is rendered here.

    ``renderers`` give their memory back before the processes start. ``clip``: the fields of the ClipConfig whose features the
    processes keep, as ``observer`` does here. Raises InputError if one of them fails.
    """
    budget, start, made = budget or Budget(config), time.perf_counter(), 0
    pool.refresh()
    work = Work.of(plan, pool, config.shard_size, part) if config.workers > 1 else None
    count = processes(work.lacking, config.workers, budget.shards_left(config.shard_size)) if work else 1
    if work and count > 1:
        check_settings(plan, pool, config)
        renderers.unload()
        shared = {"synthesis": budget.left(config, count).model_dump()} | ({"clip": dict(clip)} if clip else {})
        made = run_workers(plan, pool, work, shared, count, log)
        budget.add(made, (time.perf_counter() - start) / 3600, count)
    report = synthesise(plan, pool, config, part=part, renderers=renderers, observer=observer, budget=budget, log=log)
    return replace(report, rendered=report.rendered + made, seconds=time.perf_counter() - start) if made else report


def processes(lacking: Sequence[int], workers: int, most: float = float("inf")) -> int:
    """How many processes have something to render: ``lacking`` has the images missing in each shard."""
    return int(max(1, min(workers, sum(map(bool, lacking)), most)))


def busiest_share(lacking: Sequence[int], workers: int, gpus: int) -> float:
    """The share of all that is ``lacking`` in a plan's shards which the device with the most of it has to render."""
    count, loads = processes(lacking, workers), Counter[int]()
    for number, images in enumerate(lacking):
        loads[number % count % max(1, gpus)] += images
    return max(loads.values()) / loads.total()


def run_workers(plan: Path, pool: Pool, work: Work, parameters: Mapping[str, Any], count: int, log: Log) -> int:
    """Render the work by ``count`` processes of ``figment render``, with one progress bar. Returns how many images they made;
    raises InputError if one fails.

    ``parameters`` are those of a pipeline config (``synthesis``, ``clip``). Logs lie in ``workers/`` beside the plan.
    """
    (i, n), folder = work.part, plan.parent / "workers"
    config = folder / f"config_{i}.json"
    write_json(config, {"parameters": dict(parameters)})
    shares = [i + n * number for number in range(count)]
    logs = [folder / f"{share}.log" for share in shares]
    before, todo, done, running = set(pool.shards), sum(work.lacking), 0, True
    start_time = time.perf_counter()
    with tqdm(total=work.planned, initial=work.planned - todo, unit="img", desc=f"synthesis x{count}") as bar:
        started = [
            start(plan, config, f"{share}/{n * count}", environment(number, count, *visible_gpus()), logs[number])
            for number, share in enumerate(shares)
        ]
        try:
            while running:
                running = any(process.poll() is None for process in started)  # before the last look at the pool
                if any(process.poll() for process in started):
                    break
                time.sleep(0.5 * running)
                pool.refresh()
                if (now := work.made(pool, before)) > done:
                    bar.update(now - done)
                    done, rate = now, now / (time.perf_counter() - start_time)
                    log({"images_per_second": rate, "hours_left": (todo - done) / rate / 3600}, done)
            failed = [number for number, process in enumerate(started) if process.poll()]
        finally:
            end(started)
    for number in failed:
        code, file = started[number].returncode, logs[number]
        who = f"synthesis worker {number + 1} of {count} (its log: {file})"
        if code < 0:
            raise InputError(f"{who} was ended by {ending(-code, 'synthesis.workers or synthesis.batch_size')}")
        last = (file.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{who}: {last.removeprefix('error: ')}")
    return done


def end(started: Sequence[subprocess.Popen]) -> None:
    """Ask the processes to end, which they do after the shards that they are writing; those that do not are killed."""
    for process in started:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in started:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(plan: Path, config: Path, share: str, variables: Mapping[str, str], log: Path) -> subprocess.Popen:
    """A process that renders ``share`` (I/N) of the plan, with environment ``variables`` of its own."""
    command = [sys.executable, "-m", "figment", "render", str(plan), "-c", str(config), "--shard", share]
    with open(log, "w") as output:
        return subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT)


def visible_gpus() -> tuple[int, str | None]:
    """How many GPUs this process sees, and its CUDA_VISIBLE_DEVICES."""
    return torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")


def environment(number: int, count: int, gpus: int, visible: str | None) -> dict[str, str]:
    """What worker ``number`` of ``count`` is told: its own GPU if there are any, in turns among the ``gpus`` that this process
    sees; its share of the cores. ``visible`` is this process's CUDA_VISIBLE_DEVICES, if a scheduler set it."""
    cores_each = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    if not gpus:
        return cores_each
    names = [name.strip() for name in visible.split(",")][:gpus] if visible else [str(i) for i in range(gpus)]
    return cores_each | {"CUDA_VISIBLE_DEVICES": names[number % len(names)]}
