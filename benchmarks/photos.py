"""Table 2 of "Diversity is Definitely Needed" on its own test photos: the embedded photo models, CIFAR-10's test images.

    python -m benchmarks.photos --real FOLDER [--seeds 0 1 2 3 4] [--per-class 500] [--sets NAME ...] [--models FOLDER]
    python -m benchmarks.photos --real FOLDER --seeds 0 --sets base_class --steps 1000 --bf16  # a first number, minutes

FOLDER holds train*.parquet and test*.parquet of CIFAR-10 as on the Hugging Face Hub, and is named cifar10. One line a recipe and
seed in benchmarks/results/photos_table2.csv: top-1, per class, recall and coverage. Interrupted, the same command resumes;
seeds can run beside each other (``--out`` of their own).
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.tables.cells import cell, split_digest
from benchmarks.tables.recipes import PAPERS
from benchmarks.tables.world import World
from figment.evaluation.features import clip_features
from figment.files import write_text
from figment.metrics import accuracy
from figment.metrics.diversity import Labelled, diversity_ledger
from figment.planning.bag_of_tricks import training_sets
from figment.training.config import TrainingConfig

CONFIG = Path("configs/photos/bag_of_tricks.yaml")
UNIONS = {"combined": dict.fromkeys(PAPERS, 1), "base class x2": {"base_class": 2}, "base class x4": {"base_class": 4}}


def rows_of(world: World, seed: int, per_class: int, only: Sequence[str] | None) -> list[dict[str, Any]]:
    """One line a recipe, or those of the sets ``only``."""
    sets = training_sets(PAPERS, per_class, UNIONS, fixed_size=True)
    sets = {name: shares for name, shares in sets.items() if only is None or name in only}
    tricks = [trick for trick in PAPERS if any(trick in shares for shares in sets.values())]
    training = TrainingConfig(**world.parameters["training"])
    real = world.real("train", per_class)
    real_features = clip_features(real, world.scorer)
    began = time.monotonic()
    images = world.rendered(tricks, sets, seed)
    rendered = time.monotonic() - began
    print(f"seed {seed}: {len(images.ids)} images in {rendered:.0f} s", flush=True)
    rows = []
    for name, shares in sets.items():
        ids, chosen, features = images.of(shares)
        found = cell(world, name, seed, ids, chosen, training)
        made, shots = Labelled(features, chosen.labels), Labelled(real_features, real.labels)
        spread = diversity_ledger(made, shots, world.space.names, per_class)
        rows.append(_row(name, found) | {"recall": spread.reach.recall, "coverage": spread.reach.coverage})
        print(rows[-1], flush=True)
    if only is not None:
        return rows
    real_id = [split_digest(world, "train"), str(per_class)]
    rows.append(_row("real", cell(world, "real", seed, real_id, real, training)))
    print(rows[-1], flush=True)
    return rows


def zero_shot(world: World) -> dict[str, Any]:
    """CLIP's own line."""
    logits = world.scorer.logits(world.test.pixels, world.scorer.text_features(world.space)).cpu()
    per_class = [score.top1 for score in accuracy.per_class(logits, world.test.labels)]
    top1 = accuracy.top1(logits, world.test.labels).top1
    return {"recipe": "CLIP zero-shot", "seed": 0, "images": 0, "top1": top1, "per_class": _joined(per_class)}


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    numbers = {key: found[key] for key in ("seed", "images", "top1")}
    return {"recipe": name, **numbers, "per_class": _joined(found["per_class"])}


def _joined(values: list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", required=True, help="folder of CIFAR-10's Parquet files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--per-class", type=int, default=500)
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="these alone, such as base_class; by default all")
    parser.add_argument("--steps", type=int, help="updates of each classifier; by default the config's")
    parser.add_argument(
        "--bf16", action="store_true", help="render and train in bfloat16: faster on a CPU with tile instructions"
    )
    parser.add_argument("--models", default="models/photos")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photos_table2.csv"))
    parser.add_argument("--work", type=Path, default=Path("artifacts/photos_table2"))
    chosen = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    changes = {
        "real": {"path": chosen.real},
        "generator": {"model": f"{chosen.models}/diffusion"},
        "clip": {"model": f"local-dir:{chosen.models}/clip"},
        "synthesis": {"dtype": "bfloat16"} if chosen.bf16 else {},
        "training": ({"steps": chosen.steps} if chosen.steps else {}) | ({"precision": "bf16"} if chosen.bf16 else {}),
    }
    world = World(CONFIG, chosen.work, changes)
    rows = [zero_shot(world)]
    print(rows[0], flush=True)
    for seed in chosen.seeds:
        rows += rows_of(world, seed, chosen.per_class, chosen.sets)
        write_text(chosen.out, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


if __name__ == "__main__":
    main()
