"""Real CIFAR-10 photographs through the reader, the trainer and the evaluator: the upper bound on a CPU.

    python -m benchmarks.cifar10_upper_bound DATA [--output FILE] [--work FOLDER]

DATA is CIFAR-10 in any layout that figment.datasets reads. Trained on nine tenths of the training split, watched on the
rest, measured once on the test split. Interrupted, the same command goes on from the last checkpoint in FOLDER.
"""

import argparse
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import read_labelled
from figment.files import write_json
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.metrics import accuracy
from figment.training.classifier import predict
from figment.training.config import TrainingConfig
from figment.training.train import CHECKPOINT_VERSION, train_classifier

ROOT = Path(__file__).parents[1]
RECIPE = TrainingConfig(
    model="resnet10t",
    stem="half",
    epochs=12,
    batch_size=128,
    learning_rate=3e-3,
    schedule="one_cycle",
    weight_decay=0.1,
    label_smoothing=0.1,
    crop_scale=1.0,
    shift=4,
    holdout=0.1,
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/cifar10_upper_bound.json")
    arguments.add_argument("--work", type=Path, default=Path("artifacts/cifar10_upper_bound"))
    arguments.add_argument("--epochs", type=int, default=RECIPE.epochs)
    arguments.add_argument("--per-class", type=int, help="use only so many images of each class: a trial run")
    chosen = arguments.parse_args()
    config = RECIPE.model_copy(update={"epochs": chosen.epochs})

    began, cpu_began = time.perf_counter(), time.process_time()
    space = LabelSpace.load(ROOT / "configs/labels/cifar10.yaml")
    train = read_labelled(chosen.data, "train", space, config.image_size, chosen.per_class)
    read = time.perf_counter() - began
    print(f"{len(train)} training images read in {read:.0f} s", flush=True)

    curve = []

    def log(step: int, values: dict[str, float]) -> None:
        entry = {"step": step, "seconds": round(time.perf_counter() - began, 1), **values}
        curve.append(entry)
        print("  ".join(f"{k} {v:.5g}" for k, v in entry.items()), flush=True)

    checkpoint = Checkpoint(
        chosen.work / "checkpoint.pt", checkpoint_key(CHECKPOINT_VERSION, config=config, images=len(train))
    )
    model = train_classifier(train, len(space), config, log, "CIFAR-10", checkpoint)
    trained = time.perf_counter() - began
    test = read_labelled(chosen.data, "test", space, config.image_size)
    logits = predict(model, test.pixels)
    score = accuracy.top1(logits, test.labels)
    result = {
        "recipe": config.model_dump(),
        "training_images": len(train) - round(len(train) * config.holdout),
        "test_images": len(test),
        "test": asdict(score),
        "seconds": {"reading": read, "until trained": trained, "all": time.perf_counter() - began},
        "cpu_seconds": time.process_time() - cpu_began,
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "curve": curve,
    }
    write_json(chosen.output, result)
    print(f"top-1 on the test split: {score.top1:.4f} [{score.low:.4f}, {score.high:.4f}] after {trained:.0f} s")


if __name__ == "__main__":
    main()
