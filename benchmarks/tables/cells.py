"""Cells of the tables: one classifier trained on one set and measured once, kept on disk under all that decided it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.tables.world import World
from figment.datasets.labelled import LabelledImages
from figment.files import digest, sha256_file, write_json
from figment.metrics import accuracy
from figment.metrics.diversity import Labelled, diversity_ledger
from figment.training.classifier import predict
from figment.training.config import TrainingConfig
from figment.training.train import train_classifier

AT_EQUAL_SIZE = 30  # images of a class at which the diversity of sets of different size is compared


def cell(
    world: World, name: str, seed: int, identity: Sequence[str], images: LabelledImages, training: TrainingConfig
) -> dict[str, Any]:
    """Top-1 on the real test images of a classifier trained on ``images``, whose content ``identity`` names. The seed
    decides its weights, order and augmentation."""
    training = training.model_copy(update={"seed": seed})
    tested_on = split_digest(world, "test")
    key = digest([sorted(identity), training.model_dump(), world.space.names, tested_on])
    file = world.folder / "cells" / f"{key[:24]}.json"
    if not file.is_file():
        began = time.process_time()
        model = train_classifier(images, len(world.space), training, name=f"{name}, seed {seed}")
        logits = predict(model, world.test.pixels)
        write_json(
            file,
            {
                "name": name,
                "model": training.model,
                "seed": seed,
                "images": len(images),
                "top1": accuracy.top1(logits, world.test.labels).top1,
                "per_class": [score.top1 for score in accuracy.per_class(logits, world.test.labels)],
                "cpu_seconds": round(time.process_time() - began, 1),
            },
        )
    return json.loads(file.read_text(encoding="utf-8"))


def split_digest(world: World, split: str) -> str:
    """Of the first Parquet file of a split of the real images."""
    return sha256_file(min(Path(world.parameters["real"]["path"]).glob(f"{split}*.parquet")))


def ledger(world: World, identity: Sequence[str], labels: Tensor, features: Tensor, real: Tensor) -> dict[str, float]:
    """Diversity of a set against real shots: as it is, and (``_equal``) at the same number of images for every set."""
    per_class = int(torch.bincount(labels).min())
    key = digest([sorted(identity), AT_EQUAL_SIZE, "ledger"])
    file = world.folder / "ledgers" / f"{key[:24]}.json"
    if not file.is_file():
        values: dict[str, float] = {}
        for suffix, count in (("", per_class), ("_equal", min(AT_EQUAL_SIZE, per_class))):
            made, shots = Labelled(features, labels), Labelled(real, world.train.labels)
            found = diversity_ledger(made, shots, world.space.names, count)
            values |= {f"vendi{suffix}": found.vendi, f"distance{suffix}": found.distance}
            values |= {f"{name}{suffix}": getattr(found.reach, name) for name in ("precision", "recall", "coverage")}
            values |= {f"frechet{suffix}": found.frechet}
        write_json(file, values)
    return json.loads(file.read_text(encoding="utf-8"))
