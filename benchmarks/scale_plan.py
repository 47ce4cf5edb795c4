"""The books of a very large set, measured: writing its plan, opening its pool, finding what is left to do. No image is made.

    python -m benchmarks.scale_plan [--rows 10000000 100000000] [--folder /tmp/figment-scale]

Rows come as columns (figment.planning.identity): a thousand classes, every prompt and replicate its own. The pool's shards hold
their rows' ids and nothing else, since that is all that is read of them here. Every measurement is a process of its own on
one thread; peak memory is that process's. Needs about 110 bytes of disk a row, which are given back; writes
benchmarks/results/scale_plan.json, also in between.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from figment.files import write_json
from figment.planning.plan import check_sorted, ranges, write_plan
from figment.planning.row import Row
from figment.synthesis.pool import Pool

RESULT = Path(__file__).parent / "results/scale_plan.json"
TABLE = 65_536  # rows handed over at a time
SHARD_SIZES = (512, 8192)  # the default, and one for sets of this size
MOST_ROWS, MOST_IN_MEMORY = 10_000_000, 1_000_000  # beyond which the slow and the large are not measured
SHARE = (3, 256)  # the work of one of 256 GPUs


def columns(count: int) -> Iterator[pa.Table]:
    """``count`` rows in tables of the plan's columns, without ids."""
    for start in range(0, count, TABLE):
        number = np.arange(start, min(count, start + TABLE))
        thing = pc.binary_join_element_wise("thing ", pa.array(number % 1000).cast(pa.string()), "")
        prompt = pc.binary_join_element_wise(
            "a photo of ", thing, f" in place {start}, seen ", pa.array(number).cast(pa.string()), ""
        )
        constant = Row(
            prompt="x", labels=("x",), recipe="bag_of_tricks", trick="base_class", model="CompVis/stable-diffusion-v1-4",
            revision="0" * 40, width=512, height=512, guidance_scale=7.5, num_inference_steps=40, scheduler="DDIMScheduler",
            stream=0, replicate=0,
        ).model_dump(exclude={"prompt", "labels", "replicate"})  # fmt: skip
        same = {name: pa.repeat(value, len(number)) for name, value in constant.items()}
        labels = pa.ListArray.from_arrays(np.arange(len(number) + 1, dtype=np.int32), thing)
        yield pa.table({"prompt": prompt, "labels": labels, "replicate": pa.array(number, pa.int32()), **same})


def rows(count: int) -> Iterator[Row]:
    for table in columns(count):
        yield from (Row(**record) for record in table.to_pylist())


def write_shards(plan: Path, folder: Path, size: int, ids: bool) -> None:
    """A pool that holds all of ``plan``, and its manifest: files with ``ids``, or empty ones."""
    folder.mkdir(parents=True)
    shards = []
    for number, part in enumerate(ranges(plan, size, ["image_id"])):
        file = f"{number:024x}.parquet"
        if ids:
            pq.write_table(part, folder / file, compression="zstd")
        else:
            (folder / file).touch()
        first, last = part["image_id"][0].as_py(), part["image_id"][-1].as_py()
        shards.append({"file": file, "rows": len(part), "sha256": first, "first": first, "last": last})
    write_json(folder / "MANIFEST.json", {"rows": sum(s["rows"] for s in shards), "shards": shards})


def measure(what: str, count: int, size: int, folder: Path) -> dict:
    """One measurement; seconds and sizes by name."""
    plan, images = folder / "plan.parquet", folder / f"images-{size}"
    if what in ("plan", "plan from Row objects"):
        write_plan(columns(count) if what == "plan" else rows(count), plan)
        return {"rows_per_second": count, "plan_bytes_per_row": plan.stat().st_size / count}
    if what == "counted by estimate":  # what `figment estimate` does before it renders its sample
        from figment.synthesis.batches import batch_key, fill_batches

        for part in ranges(plan, size):
            for batch in fill_batches(part.to_pylist(), lambda: 16):
                batch_key(batch[0])
        return {"rows_per_second": count}
    if what == "order checked":
        check_sorted(plan)
        return {"rows_per_second": count}
    if what == "shards":
        write_shards(plan, images, size, ids=size == max(SHARD_SIZES))
        return {}
    if what == "pool opened":
        pool = Pool(images)
        return {"shards": len(pool.shards), "manifest_megabytes": pool.manifest_file.stat().st_size / 1e6}
    if what == "pool sealed":
        Pool(images).seal()
        return {}
    pool = Pool(images)
    if what == "one share found":  # what a worker of 256 does before its first image, in an empty pool
        shards = enumerate(ranges(plan, size, ["image_id"]))
        found = sum(len(part) for number, part in shards if number % SHARE[1] == SHARE[0])
        return {"rows_per_second": count, "share": found}
    left = sum(len(pool.missing(part)) for part in ranges(plan, size, ["image_id"]))  # what is left to do: nothing
    assert left == 0
    return {"rows_per_second": count}


def run(what: str, count: int, size: int, folder: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.scale_plan", "--measure", what, "--rows", str(count)]
    command += ["--size", str(size), "--folder", str(folder)]
    one = {"OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    made = subprocess.run(command, env=os.environ | one, capture_output=True, text=True, check=True).stdout
    return json.loads(made.splitlines()[-1])


def child(options: argparse.Namespace) -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    begun, cpu = time.perf_counter(), time.process_time()
    found = measure(options.measure, options.rows[0], options.size, options.folder)
    seconds = time.perf_counter() - begun
    if "rows_per_second" in found:
        found["rows_per_second"] = round(options.rows[0] / seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = {"seconds": round(seconds, 1), "processor_seconds": round(time.process_time() - cpu, 1)}
    print(json.dumps({**times, "peak_mib": round(peak), **found}))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    arguments.add_argument("--folder", type=Path, default=Path("/tmp/figment-scale"))
    arguments.add_argument("--output", type=Path, default=RESULT)
    arguments.add_argument("--measure", help=argparse.SUPPRESS)  # of the child process
    arguments.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.measure:
        return child(options)
    small, large = SHARD_SIZES
    tasks = [
        ("plan", large),
        ("order checked", large),
        ("one share found", large),
        ("shards", large),
        ("pool opened", large),
    ]
    tasks += [("pool sealed", large), ("nothing left found", large), ("shards", small), ("pool opened", small)]
    measured: dict[str, list[dict]] = {}
    for count in options.rows:
        folder = options.folder / str(count)
        folder.mkdir(parents=True)
        try:
            rows_too = [("plan from Row objects", large)] if count <= MOST_ROWS else []
            in_memory = [("counted by estimate", large)] if count <= MOST_IN_MEMORY else []
            for what, size in rows_too + tasks + in_memory:
                found = {"what": what, "shard_size": size, **run(what, count, size, folder)}
                print(f"{count:,}: {found}", flush=True)
                if what != "shards":  # the making of the example is no measurement
                    measured.setdefault(str(count), []).append(found)
                machine = {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1}
                write_json(options.output, {"machine": machine, "rows": measured})
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
