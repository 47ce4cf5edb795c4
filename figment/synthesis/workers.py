"""Several processes on this machine, one a GPU: each takes every n-th shard, all write into one pool."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from figment.errors import InputError
from figment.files import write_json
from figment.planning.plan import count_rows, ranges
from figment.synthesis.pool import Pool


def run_workers(plan: Path, pool: Pool, parameters: Mapping[str, Any], count: int) -> None:
    """Render a plan by ``count`` processes of ``figment render``, with one progress bar. Raises InputError if one fails.

    ``parameters`` are those of a pipeline config (``synthesis``, ``clip``). Logs lie in ``workers/`` beside the plan.
    """
    folder = plan.parent / "workers"
    write_json(folder / "config.json", {"parameters": dict(parameters)})
    logs = [folder / f"{i}.log" for i in range(count)]
    planned = count_rows(plan)
    with tqdm(total=planned, initial=present(plan, pool), unit="img", desc=f"synthesis x{count}") as bar:
        processes = [start(plan, folder / "config.json", i, count, log) for i, log in enumerate(logs)]
        others = len(pool) - bar.n
        try:
            while any(process.poll() is None for process in processes):
                time.sleep(0.5)
                pool.refresh()
                bar.update(len(pool) - others - bar.n)
        finally:
            for process in processes:
                process.terminate()
                process.wait()
    for process, log in zip(processes, logs, strict=True):
        if process.returncode:
            last = (log.read_text(encoding="utf-8").strip().splitlines() or ["no output"])[-1]
            raise InputError(f"synthesis worker (its log: {log}): {last.removeprefix('error: ')}")


def start(plan: Path, config: Path, number: int, count: int, log: Path) -> subprocess.Popen:
    """Worker ``number`` of ``count``, with ``environment`` of its own."""
    share = environment(number, count, torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    command = [sys.executable, "-m", "figment", "render", str(plan), "-c", str(config), "--shard", f"{number}/{count}"]
    with open(log, "w") as output:
        return subprocess.Popen(command, env=os.environ | share, stdout=output, stderr=subprocess.STDOUT)


def environment(number: int, count: int, gpus: int, visible: str | None) -> dict[str, str]:
    """What worker ``number`` of ``count`` is told: its own GPU if there are any, in turns among the ``gpus`` that this process
    sees; its share of the cores. ``visible`` is this process's CUDA_VISIBLE_DEVICES, if a scheduler set it."""
    cores_each = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    if not gpus:
        return cores_each
    names = [name.strip() for name in visible.split(",")][:gpus] if visible else [str(i) for i in range(gpus)]
    return cores_each | {"CUDA_VISIBLE_DEVICES": names[number % len(names)]}


def present(plan: Path, pool: Pool) -> int:
    """How many of the plan's images are in the pool."""
    return sum(len(ids) - len(pool.missing(ids)) for ids in ranges(plan, 10_000, ["image_id"]))
