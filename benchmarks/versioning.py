"""Disk that runs take under DVC which share most of their images, beside the sum of their sizes. No image is rendered.

    python -m benchmarks.versioning [--runs 10] [--images 2000] [--kilobytes 8]

A tenth of each run's images is its own, or new. Three ways to keep such runs: in one folder, each run a commit, where the pool
grows by what is new; each in a folder of its own, by `synthesis.reuse`, where each run asks for all images of the one before and
more; and the same where each run has as many others. Images are random bytes, which nothing compresses. Writes
benchmarks/results/versioning.json and the table in docs/operating.md.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.scale_plan import columns
from figment.files import write_json, write_text
from figment.ops.environment import load_environment
from figment.planning.plan import ranges, write_plan
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.pool import Pool
from figment.synthesis.reuse import take_images
from figment.synthesis.settings import check_settings

RESULT, DOCS = Path("benchmarks/results/versioning.json"), Path("docs/operating.md")
MARKS = "<!-- versioning -->\n", "<!-- /versioning -->"
SHARD = 256  # images
FOLDER, GROWING, CHANGING = "one folder", "a folder each, growing", "a folder each, a tenth others"


def wanted(way: str, run: int, images: int) -> list[int]:
    """The numbers of the images that a run asks for."""
    own = images // 10
    if way == GROWING:
        return list(range(images + run * own))
    return [*range(images - own), *range(images + run * own, images + (run + 1) * own)]


def run(way: str, number: int, images: int, size: int) -> Path:
    """The folder of a run: its plan, and its pool, of which only the images are made up."""
    output = Path("artifacts", "run" if way == FOLDER else f"run_{number}")
    rows = pa.concat_tables(columns(images + (number + 1) * (images // 10))).take(wanted(way, number, images))
    write_plan([rows], plan := output / "plan.parquet")
    pool = Pool(output / "images")
    others = () if way == FOLDER or number == 0 else (f"artifacts/run_{number - 1}/images",)
    config = SynthesisConfig(shard_size=SHARD, image_format="png", reuse=others)
    check_settings(plan, pool, config)
    take_images(plan, pool, config)
    for part in ranges(plan, SHARD):
        if len(lacking := pool.missing(part)):
            made = [np.random.default_rng(int(i[:16], 16)).bytes(size) for i in lacking["image_id"].to_pylist()]
            found = [{"bytes": content, "path": None} for content in made]
            pool.add(lacking, {"image": found, "contrast": [1.0] * len(made), "unsafe": [False] * len(made)})
    pool.seal()
    return output


def disk(*folders: Path) -> int:
    """Bytes of all files, each once however many names it has."""
    stats = (path.stat() for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum({found.st_ino: found.st_size for found in stats}.values())


def measure(way: str, runs: int, images: int, size: int) -> dict[str, Any]:
    """In an empty repository of git and DVC."""
    from figment.ops.versioning import version
    from figment.recipes.base import VersioningConfig

    seconds, alone = [], 0
    for number in range(runs):
        output = run(way, number, images, size)
        begun = time.process_time()
        version(output, VersioningConfig())
        seconds.append(time.process_time() - begun)
        alone += disk(output) if way != FOLDER or number == 0 else alone // number  # all ask for as many images
        subprocess.run(["git", "add", "artifacts"], check=True)
        subprocess.run(["git", *["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "-m", "run"]], check=True)
    used = disk(Path("artifacts"), Path(".dvc/cache"))
    return {"way": way, "sum_mb": alone / 1e6, "used_mb": used / 1e6, "share": used / alone, "seconds": seconds[-1]}


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    yield "| runs kept in | sum of their sizes | on the disk | share | versioning of the last one, processor |"
    yield "|---|---|---|---|---|"
    for row in found:
        sizes = f"{row['sum_mb']:,.0f} MB | {row['used_mb']:,.0f} MB | {row['share']:.0%}"
        yield f"| {row['way']} | {sizes} | {row['seconds']:.1f} s |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=10)
    arguments.add_argument("--images", type=int, default=2000, help="of a run")
    arguments.add_argument("--kilobytes", type=int, default=8, help="of an image")
    options = arguments.parse_args()
    load_environment()
    here, found = Path.cwd(), []
    for way in (FOLDER, GROWING, CHANGING):
        with TemporaryDirectory() as folder:
            os.chdir(folder)
            subprocess.run(["git", "init", "-q"], check=True)
            subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
            try:
                found.append(measure(way, options.runs, options.images, 1000 * options.kilobytes))
            finally:
                os.chdir(here)
        print(found[-1], flush=True)
    write_json(RESULT, {**vars(options), "ways": found})
    before, rest = DOCS.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    write_text(DOCS, f"{before}{MARKS[0]}" + "\n".join(table(found)) + f"\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
