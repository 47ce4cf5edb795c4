"""Images a second through training: this project's loader beside a plain ImageFolder with torchvision transforms.

    python -m benchmarks.training_throughput [--output FILE] [--only NAME]

Both train the same timm model with the same optimizer, batch and augmentation (random resized crop, flip, ImageNet
statistics) on the same images for the same epochs, from the first look at the disk to the last update, in turns, on
whatever device and cores there are. The model alone, on a batch that is already there, is the ceiling for both. Beside the
clock, the processors' own time is counted, workers' included: it does not change when other programs share the machine.
"""

import argparse
import gc
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from figment.datasets.labelled import open_labelled
from figment.devices import choose_device
from figment.files import write_json
from figment.images import encode
from figment.labels import LabelSpace
from figment.training.augment import MEAN, STD
from figment.training.classifier import build_classifier
from figment.training.config import TrainingConfig
from figment.training.train import train_classifier

ROOT = Path(__file__).parents[1]
SPACE = LabelSpace.of([f"class {i}" for i in range(10)])
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Case:
    """Images of ``stored`` px on disk, seen at ``size`` px."""

    model: str
    stored: int
    size: int
    image_format: str
    images: int
    epochs: int
    precision: Literal["auto", "fp32"] = "fp32"  # of ours; the plain loop and the model alone have fp32


CASES = {
    "pocket recipe, 32 px PNG": Case("test_resnet", 32, 32, "png", 10_000, 4),
    "MobileNetV3-S, 32 px PNG": Case("mobilenetv3_small_100", 32, 32, "png", 5_000, 3),
    "MobileNetV3-S, 256 px JPEG seen at 64 px": Case("mobilenetv3_small_100", 256, 64, "jpeg", 1_200, 4),
    "ResNet-50, 32 px PNG": Case("resnet50", 32, 32, "png", 640, 3),
}


def config_of(case: Case) -> TrainingConfig:
    return TrainingConfig(model=case.model, image_size=case.size, epochs=case.epochs, precision=case.precision)


def write_images(case: Case, folder: Path) -> None:
    """The same images twice: class folders, and Parquet shards of 1,000. Smooth shapes and a little noise, so that they
    compress as images do."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(case.images):
        shapes = torch.rand(1, 3, 6, 6, generator=generator)
        pixels = F.interpolate(shapes, size=(case.stored, case.stored), mode="bicubic")[0]
        pixels = (pixels + 0.03 * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)
        data = encode((pixels * 255).byte().permute(1, 2, 0).numpy(), case.image_format)
        name = SPACE.names[number % 10]
        file = folder / "train" / name / f"{number:06}.{case.image_format}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        rows.append({"image": {"bytes": data, "path": file.name}, "label": name})
    (folder / "parquet").mkdir()
    for first in range(0, len(rows), 1000):
        table = pa.Table.from_pylist(rows[first : first + 1000])
        pq.write_table(table, folder / "parquet" / f"train-{first:06}.parquet", row_group_size=256)


def ours(case: Case, folder: Path) -> int:
    images = open_labelled(folder / "parquet", "train", SPACE, case.size, resize="bilinear").load_if_it_fits()
    train_classifier(images, len(SPACE), config_of(case))
    return case.images * case.epochs


def plain(case: Case, folder: Path) -> int:
    """The usual loop: one worker a core, transforms on every image every epoch."""
    config = config_of(case)
    steps = [transforms.Resize(case.size)] if case.stored != case.size else []
    steps += [transforms.RandomResizedCrop(case.size, scale=(config.crop_scale, 1)), transforms.RandomHorizontalFlip()]
    steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = ImageFolder(folder / "train", transforms.Compose(steps))
    device = choose_device()
    loader = DataLoader(
        images, config.batch_size, shuffle=True, num_workers=CORES, persistent_workers=True,
        pin_memory=device.type == "cuda", drop_last=len(images) > config.batch_size,
    )  # fmt: skip
    step = stepper(config, device)
    done = 0
    for _ in range(case.epochs):
        for pixels, labels in loader:
            step(pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            done += len(labels)
    return done


def stepper(config: TrainingConfig, device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], None]:
    model = build_classifier(config, len(SPACE)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)

    def step(pixels: torch.Tensor, labels: torch.Tensor) -> None:
        loss = F.cross_entropy(model(pixels.contiguous(memory_format=torch.channels_last)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def rates(run: Callable[[], int]) -> dict[str, float]:
    """Images that ``run`` says it trained on, a second by the clock and a second of processor time."""
    clock, cpu = time.perf_counter(), cpu_seconds()
    images = run()
    settle(choose_device())
    gc.collect()  # ends the workers
    return {
        "a_second": images / (time.perf_counter() - clock),
        "a_cpu_second": images / (cpu_seconds() - cpu),
    }


def model_alone(case: Case) -> int:
    """Some updates on one batch that is already where it should be."""
    config, device = config_of(case), choose_device()
    step = stepper(config, device)
    pixels = torch.randn(config.batch_size, 3, case.size, case.size, device=device)
    labels = torch.randint(len(SPACE), (config.batch_size,), device=device)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < 5:
        step(pixels, labels)
        settle(device)
        done += len(labels)
    return done


def measure(case: Case, repeats: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(case, folder)
        runs: dict[str, Callable[[], int]] = {
            "ours": lambda: ours(case, folder),
            "plain": lambda: plain(case, folder),
            "model alone": lambda: model_alone(case),
        }
        every = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                every[name].append(rates(run))
    middle = {
        name: {unit: statistics.median(found[unit] for found in several) for unit in several[0]}
        for name, several in every.items()
    }
    return {
        **vars(case),
        "median": middle,
        "every_run": every,
        "times_plain": {unit: rate / middle["plain"][unit] for unit, rate in middle["ours"].items()},
        "share_of_model_alone": {unit: rate / middle["model alone"][unit] for unit, rate in middle["ours"].items()},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/training_throughput.json")
    arguments.add_argument("--only", choices=list(CASES))
    arguments.add_argument("--repeats", type=int, default=3)
    chosen = arguments.parse_args()
    device = choose_device()
    found = {}
    for name in [chosen.only] if chosen.only else CASES:
        found[name] = measure(CASES[name], chosen.repeats)
        shown = {who: {unit: round(rate) for unit, rate in of.items()} for who, of in found[name]["median"].items()}
        print(f"{name}: {shown}, {found[name]['times_plain']} times plain", flush=True)
    machine = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        "cores": CORES,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    write_json(chosen.output, {"machine": machine, "cases": found})


if __name__ == "__main__":
    main()
