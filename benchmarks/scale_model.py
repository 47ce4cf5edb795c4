"""What the papers' full sets and a set of 100 million images take: time, money, disk, shards. Writes docs/scaling.md's tables.

    python -m benchmarks.scale_model [--price 2.0] [--speed 1.0]

``--price`` is of a GPU hour, ``--speed`` how many times as fast as an A100 the GPU is. Rates come from the sources named below
and from benchmarks/results/scale_plan.json; what is assumed is called so.
"""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/scaling.md"
# Published: one A100 80 GB, diffusers as it comes (torch 2.1, SDPA, float16), batch 1, guidance, 50 steps, end to end, median.
# github.com/fal-ai/stable-diffusion-benchmarks, README at 0490f69. Batches raise the rate, so these are pessimistic.
SECONDS_OF_50_STEPS = {("SD 1", 512): 1.590, ("SDXL", 1024): 5.933}
# Counted: floating-point operations of the UNet, two samples of one step, torch's FlopCounterMode on the shapes of
# benchmarks.gpu. Assumed: SD 2 at 768 px uses the device as well as SD 1 at 512.
SECONDS_OF_50_STEPS["SD 2", 768] = 1.590 * 4.298 / 1.607
# Published: ResNet-50 at 224 px, forward and backward, mixed precision, channels-last, data at hand, one A100.
# github.com/huggingface/pytorch-image-models, issue 1491.
TRAINED_A_SECOND = 2600
BITS_PER_PIXEL = 4  # assumed, of JPEG at quality 95 without chroma subsampling
ACCEPTED = 0.5  # assumed: the share of the tailored recipe's images that CLIP accepts


@dataclass(frozen=True)
class Set:
    """``images`` to render at ``size`` px in ``steps`` steps on ``gpus``."""

    images: int
    model: str
    size: int
    steps: int
    gpus: int
    shard_size: int = 512

    def seconds_each(self, speed: float) -> float:
        return SECONDS_OF_50_STEPS[self.model, self.size] * self.steps / 50 / speed

    def row(self, name: str, price: float, speed: float) -> str:
        hours = self.images * self.seconds_each(speed) / 3600
        disk, shards = self.images * self.size**2 * BITS_PER_PIXEL / 8 / 1e9, -(-self.images // self.shard_size)
        busiest = -(-shards // self.gpus) * self.shard_size  # images of one GPU, which takes whole shards
        time = duration(hours * busiest / self.images)
        return (
            f"| {name} | {self.images:,} | {self.model}, {self.size} px, {self.steps} | {self.gpus} | {hours:,.0f} | "
            f"{time} | {hours * price:,.0f} | {disk:,.0f} GB | {shards:,} of {self.shard_size:,} |"
        )


# Counts: configs/paper; the quotas of the tailored recipe are 12 images of 149 sets of classes, 3 of 3,321.
SETS = {
    "CIFAR-10, four tricks": Set(240_000, "SD 1", 512, 40, 8),
    "CIFAR-100, four tricks": Set(240_000, "SD 1", 512, 40, 8),
    "EuroSAT, three sets and one doubled": Set(108_000, "SD 1", 512, 40, 8),
    "all three (588 thousand)": Set(588_000, "SD 1", 512, 40, 8),
    "tailored COCO": Set(round(12 * 149 / ACCEPTED), "SD 2", 768, 50, 8),
    "tailored NUS-WIDE": Set(round(3 * 3321 / ACCEPTED), "SD 2", 768, 50, 8),
    "100 million": Set(100_000_000, "SD 1", 512, 40, 256, 8192),
}


def duration(hours: float) -> str:
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def sets_table(price: float, speed: float) -> str:
    head = (
        f"| set | images | model, size, steps | GPUs | GPU hours | time | cost at {price:.2f} an hour | disk | shards |"
    )
    return "\n".join([head, "|---" * 9 + "|", *(item.row(name, price, speed) for name, item in SETS.items())])


def books_table() -> str:
    """What benchmarks.scale_plan measured: by the clock, by the processor, and peak memory."""
    measured = json.loads((ROOT / "benchmarks/results/scale_plan.json").read_text())["rows"]
    lines = [
        "| rows | what | shard_size | clock | processor | rows a processor second | peak memory |",
        "|---" * 7 + "|",
    ]
    for count, found in measured.items():
        for item in found:
            rate = (
                f"{round(int(count) / max(item['processor_seconds'], 0.05), -2):,.0f}"
                if "rows_per_second" in item
                else ""
            )
            what = item["what"] + (
                f", manifest {item['manifest_megabytes']:.1f} MB" if "manifest_megabytes" in item else ""
            )
            lines.append(
                f"| {int(count):,} | {what} | {item['shard_size']:,} | {item['seconds']:,.1f} s | "
                f"{item['processor_seconds']:,.1f} s | {rate} | {item['peak_mib']:,} MiB |"
            )
    return "\n".join(lines)


def training_table(price: float, speed: float) -> str:
    """ResNet-50 at 224 px for 200 epochs, by the published rate, on one process a GPU."""
    lines = [
        "| set, ResNet-50 at 224 px, 200 epochs | images | GPU hours | time on 8 GPUs | cost |",
        "|---" * 5 + "|",
    ]
    for name, images in {"EuroSAT, best trick": 54_000, "EuroSAT, all combined": 81_000}.items():
        hours = images * 200 / (TRAINED_A_SECOND * speed) / 3600
        lines.append(f"| {name} | {images:,} | {hours:.1f} | {duration(hours / 8)} | {hours * price:.2f} |")
    return "\n".join(lines)


def put(text: str, name: str, table: str) -> str:
    """``text`` with what stands between the two marks of ``name`` replaced."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    assert begin in text, name
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--price", type=float, default=2.0, help="of a GPU hour; by default 2, an assumption")
    arguments.add_argument("--speed", type=float, default=1.0, help="times an A100's; by default 1")
    options = arguments.parse_args()
    text = DOCUMENT.read_text(encoding="utf-8")
    tables = {
        "sets": sets_table(options.price, options.speed),
        "training": training_table(options.price, options.speed),
        "books": books_table(),
    }
    for name, table in tables.items():
        text = put(text, name, table)
        print(table + "\n")
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
