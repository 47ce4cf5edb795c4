"""Synthesis side by side in one run: the papers' loop, a plain diffusers call, Figment's executor, on the same weights.

    python -m benchmarks.synthesis speed      # images/s on the pocket models, and the executor's overhead
    python -m benchmarks.synthesis memory     # peak memory of plans of 10,000 and of 1,000,000 rows

Each writes benchmarks/results/synthesis_<what>.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import torch

from figment.files import write_json
from figment.labels import LabelSpace
from figment.ops.run import quieten
from figment.planning.from_prompts import plan_prompts
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.plan import count_rows, make_plan, write_plan
from figment.planning.row import Row
from figment.prompts.tricks import build_tricks, write_prompts
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Generator, Rendering
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.weights import model_revision

RESULTS = Path(__file__).parent / "results"
POCKET = GeneratorConfig(
    model="models/pocket/diffusion", width=32, height=32, guidance_scale=4.0, num_inference_steps=12
)
CLASSES = ("car", "frog", "banana", "dog")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory"])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)  # of the child process of `memory`
    options = parser.parse_args()
    quieten()
    if options.what == "memory" and options.rows:
        print(json.dumps(memory_of(options.rows)))
        return
    measured = {"speed": speed, "memory": memory}[options.what](options)
    write_json(RESULTS / f"synthesis_{options.what}.json", {"machine": machine(), **measured})
    print(json.dumps(measured, indent=2))


def machine() -> dict[str, str | int]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "device": device,
        "torch": torch.__version__,
    }


# Speed -----------------------------------------------------------------------------------------------------------------


def pocket_plan(count: int) -> pa.Table:
    """``count`` images of four classes, one prompt each, guidance 4."""
    labels = LabelSpace.load(Path("configs/labels/pocket.yaml")).choose(CLASSES)
    tricks = build_tricks(["base_class"], ["photo"], POCKET.guidance_scale)
    book = write_prompts(labels, tricks)
    return make_plan(
        plan_prompts(book, Origin(POCKET, model_revision(POCKET), 0, "bag_of_tricks"), count // len(CLASSES), tricks)
    )


def papers_loop(pipeline, rows: list[dict], folder: Path, batch: int) -> None:
    """One prompt at a time, its text encoded each time, a PNG written before the next begins."""
    for row in rows:
        image = pipeline(
            row["prompt"],
            guidance_scale=row["guidance_scale"],
            num_inference_steps=row["num_inference_steps"],
            height=row["height"],
            width=row["width"],
            generator=torch.Generator().manual_seed(row["seed"]),
        ).images[0]
        image.save(folder / f"{row['image_id']}.png")


def plain_diffusers(pipeline, rows: list[dict], folder: Path, batch: int) -> None:
    """Batches of prompts through the pipeline's own call, PNGs written after each."""
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        images = pipeline(
            [row["prompt"] for row in part],
            guidance_scale=part[0]["guidance_scale"],
            num_inference_steps=part[0]["num_inference_steps"],
            height=part[0]["height"],
            width=part[0]["width"],
            generator=[torch.Generator().manual_seed(row["seed"]) for row in part],
        ).images
        for row, image in zip(part, images, strict=True):
            image.save(folder / f"{row['image_id']}.png")


def speed(options: argparse.Namespace) -> dict:
    """Images/s of the three ways, taken in turns; the loop renders an eighth of the images. Loading is not counted."""
    from diffusers import StableDiffusionPipeline

    plan = pocket_plan(options.images)
    rows = plan.to_pylist()
    pipeline = StableDiffusionPipeline.from_pretrained(POCKET.model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    config = SynthesisConfig(batch_size=options.batch, image_format="png", shard_size=256)
    renderers = Renderers(config)
    renderers.load(rows[0]["model"], rows[0]["revision"])

    def figment(rows: list[dict], folder: Path) -> None:
        synthesise(plan, Pool(folder), config, renderers=renderers)

    ways: dict[str, tuple[list[dict], Callable[[list[dict], Path], None]]] = {
        "papers' loop": (rows[: options.images // 8], lambda r, f: papers_loop(pipeline, r, f, 1)),
        "plain diffusers": (rows, lambda r, f: plain_diffusers(pipeline, r, f, options.batch)),
        "figment": (rows, figment),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (part, way) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                way(part, Path(folder))
                rates[name].append(len(part) / (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "images": options.images,
        "batch": options.batch,
        "steps": POCKET.num_inference_steps,
        "images_per_second": {name: [round(rate, 2) for rate in values] for name, values in rates.items()},
        "times the papers' loop": round(median["figment"] / median["papers' loop"], 2),
        "times plain diffusers": round(median["figment"] / median["plain diffusers"], 2),
        "lanes": renderers.lanes(),
        "overhead": overhead(plan.slice(0, 4 * options.batch), options.batch),
    }


@contextmanager
def timed_modules(generator: Generator) -> Iterator[list[float]]:
    """Seconds spent in the forward passes of the networks."""
    seconds: list[float] = []
    kept = []
    for module, name in ((generator.denoiser, "forward"), (generator.pipeline.vae, "decode"),
                         (generator.pipeline.text_encoder, "forward")):  # fmt: skip
        method = getattr(module, name)
        kept.append((module, name, method))

        def timed(*args, method=method, **kwargs):
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                seconds.append(time.perf_counter() - start)

        setattr(module, name, timed)
    yield seconds
    for module, name, method in kept:
        setattr(module, name, method)


def overhead(plan: pa.Table, batch: int) -> dict[str, float]:
    """The share of one lane's wall-clock time that is not a network's forward pass: sampler, guidance, files, books."""
    config = SynthesisConfig(batch_size=batch, image_format="png", shard_size=256, lanes=1)
    renderers = Renderers(config)
    generator = renderers.load(plan["model"][0].as_py(), plan["revision"][0].as_py())
    with tempfile.TemporaryDirectory() as folder, timed_modules(generator) as seconds:
        start = time.perf_counter()
        synthesise(plan, Pool(Path(folder)), config, renderers=renderers)
        total = time.perf_counter() - start
    return {
        "seconds": round(total, 3),
        "in networks": round(sum(seconds), 3),
        "share": round(1 - sum(seconds) / total, 4),
    }


# Memory ----------------------------------------------------------------------------------------------------------------


def rows_to_plan(count: int) -> Iterator[Row]:
    for i in range(count):
        yield Row(
            prompt=f"a photo of thing {i % 1000} in place {i // 1000}", labels=(f"thing {i % 1000}",), recipe="benchmark",
            trick="base", model=POCKET.model, revision=model_revision(POCKET), width=32, height=32, guidance_scale=4.0,
            num_inference_steps=12, scheduler="DDIMScheduler", stream=0, replicate=i,
        )  # fmt: skip


def memory_of(count: int) -> dict[str, float]:
    """Plan and execute ``count`` rows, rendering replaced by a constant image; peak memory of this process in MiB."""
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def constant(self, rows, full=None):
        return Rendering(pixels.expand(len(rows), -1, -1, -1), (False,) * len(rows))

    Generator.render = constant
    config = SynthesisConfig(batch_size=64, image_format="jpeg", shard_size=512, lanes=1)
    with tempfile.TemporaryDirectory(dir=".figment") as folder:
        plan = Path(folder) / "plan.parquet"
        start = time.perf_counter()
        write_plan(rows_to_plan(count), plan)
        planned = time.perf_counter()
        report = synthesise(plan, Pool(Path(folder) / "images"), config)
        assert report.rendered == count_rows(plan) == count
        executed = time.perf_counter()
        assert synthesise(plan, Pool(Path(folder) / "images"), config).rendered == 0
        return {
            "rows": count,
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "plan_seconds": round(planned - start, 1),
            "execute_seconds": round(executed - planned, 1),
            "resume_seconds": round(time.perf_counter() - executed, 1),
            "plan_megabytes": round(plan.stat().st_size / 1e6, 1),
        }


def memory(options: argparse.Namespace) -> dict:
    """Each size in a process of its own."""
    measured = []
    for count in (10_000, 1_000_000):
        command = [sys.executable, "-m", "benchmarks.synthesis", "memory", "--rows", str(count)]
        measured.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return {"runs": measured, "ratio": round(measured[1]["peak_mib"] / measured[0]["peak_mib"], 3)}


if __name__ == "__main__":
    main()
