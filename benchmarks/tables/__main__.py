"""The science bench: the tables of "Diversity is Definitely Needed" in miniature.

    python -m benchmarks.tables [table2] [table3] [latent] [better] [--seeds N] [--models NAME ...]

Recipes x seeds, training settings frozen: only the images change. Interrupted, the same command goes on; a cell that was
measured is read from artifacts/tables (delete that folder after a change of code to measure again). Writes one CSV a table,
with every seed, to benchmarks/results/, and docs/results.md from whatever CSVs there are.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.tables import recipes
from benchmarks.tables.better import better
from benchmarks.tables.cells import cell, ledger
from benchmarks.tables.latent import latent_study
from benchmarks.tables.report import write_results
from benchmarks.tables.world import World
from figment.datasets.labelled import LabelledImages
from figment.files import sha256_file, write_text
from figment.metrics import accuracy
from figment.ops.environment import load_environment
from figment.ops.stack import fetch_data

RESULTS = Path("benchmarks/results")
SEEDS = {"table2": 5, "table3": 3, "latent": 3, "better": 5}


def table2(world: World, seeds: int) -> Iterator[dict[str, Any]]:
    """One line a recipe and seed: its accuracy beside its diversity."""
    training, sets = recipes.table2_training(world), recipes.sets()
    real_id = [sha256_file(Path(world.parameters["real"]["path"]) / "train.parquet")]
    real_ledger = ledger(world, real_id, world.train.labels, world.train_features, world.train_features)
    clip = world.scorer.logits(world.test.pixels, world.scorer.text_features(world.space)).cpu()
    yield {"recipe": "CLIP zero-shot", "seed": 0, "top1": accuracy.top1(clip, world.test.labels).top1}
    for seed in range(seeds):
        rendered = world.rendered(recipes.PAPERS, sets, seed)
        for name, shares in sets.items():
            ids, images, features = rendered.of(shares)
            found = cell(world, name, seed, ids, images, training)
            measured = ledger(world, ids, images.labels, features, world.train_features)
            yield {"recipe": name, **_numbers(found), **measured}
        yield {
            "recipe": recipes.REAL, **_numbers(cell(world, recipes.REAL, seed, real_id, world.train, training)),
            **{name: value for name, value in real_ledger.items() if name.startswith(("vendi", "distance"))},
        }  # fmt: skip
        drawn = world.perfect(recipes.perfect_per_class(), seed)
        both = LabelledImages(*(torch.cat(pair) for pair in zip(tensors(drawn), tensors(world.train), strict=True)))
        for name, images in ((recipes.PERFECT, drawn), (recipes.PERFECT_AND_REAL, both)):
            content = hashlib.sha256(images.pixels.numpy().tobytes()).hexdigest()
            yield {"recipe": name, **_numbers(cell(world, name, seed, [content], images, training))}


def table3(world: World, seeds: int, models: list[str]) -> Iterator[dict[str, Any]]:
    """One line an architecture, set and seed."""
    sets = recipes.sets()
    chosen = {name: sets[name] for name in ("base_class", recipes.BEST)}
    for seed in range(seeds):
        rendered = world.rendered(recipes.PAPERS, chosen, seed)
        for model in models:
            for name, shares in chosen.items():
                ids, images, _ = rendered.of(shares)
                found = cell(world, f"{model} on {name}", seed, ids, images, recipes.ARCHITECTURES[model])
                yield {"model": model, "recipe": name, **_numbers(found)}


def _numbers(found: dict[str, Any]) -> dict[str, Any]:
    """With the accuracy of every class, as JSON."""
    numbers = {name: found[name] for name in ("seed", "images", "top1", "cpu_seconds")}
    return numbers | {"per_class": json.dumps([round(value, 4) for value in found["per_class"]])}


def tensors(images: LabelledImages) -> tuple[Tensor, Tensor]:
    return images.pixels, images.labels


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tables", nargs="*", choices=[*SEEDS, []], help="which; by default all")
    arguments.add_argument("--seeds", type=int, help="by default 5 for table 2, 3 for the others")
    arguments.add_argument("--models", nargs="+", default=list(recipes.ARCHITECTURES), help="of table 3")
    chosen = arguments.parse_args()
    load_environment()
    fetch_data()
    world = World()
    for name in chosen.tables or SEEDS:
        seeds = chosen.seeds or SEEDS[name]
        rows = {
            "table2": lambda seeds: table2(world, seeds),
            "table3": lambda seeds: table3(world, seeds, chosen.models),
            "latent": lambda seeds: latent_study(world, seeds),
            "better": lambda seeds: better(world, seeds),
        }[name](seeds)
        lines: list[dict[str, Any]] = []
        for row in rows:
            lines.append(row)
            print(name, *(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
            text = pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n")
            write_text(RESULTS / f"{name}.csv", text)
    write_results(RESULTS, Path("docs/results.md"))


if __name__ == "__main__":
    main()
