"""Semantic diversity learning on pocket scenes: rows, weights and pooling, label vectors, images made for unseen labels.

    python -m benchmarks.semantic [--work FOLDER] [--word-vectors coco.npz nus_wide.npz]

One factor at a time around the paper's defaults (7 rows, regularisation 0.3, diversity weight, the largest score over rows),
three seeds that draw scenes, images and weights again. 24 seen and 8 unseen objects (configs/labels/pocket_24_8.yaml; with
word vectors, which know no frog, 23 and 8); trained on scenes of the teachers, measured on scenes of other artists. Writes
benchmarks/results/semantic.csv, a row a run, and semantic.json: means with 95 % intervals (Student's t) and the paired
differences to the default. Interrupted, the same command goes on with the next run.
"""

import argparse
import csv
import json
import math
import platform
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import t as student

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import LabelVectors, make_label_vectors, read_npz_vectors, twins
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.tagged import TaggedImages, read_tagged
from figment.datasets.zero_shot import ZeroShotConfig, write_splits, zero_shot_space
from figment.evaluation.row_spread import spread_correlation
from figment.files import write_json
from figment.labels import LabelSpace, key
from figment.metrics.multilabel import measures
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.pairs import plan_pairs
from figment.planning.plan import write_plan
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.config import SemanticTraining
from figment.training.protocols import columns_of
from figment.training.semantic import predict_scores
from figment.training.splits import made_images
from figment.training.zero_shot import train_zero_shot
from figment.validation.policies import CocoPolicy
from figment.validation.validate import validate
from figment.validation.verdicts import reasons, shown_labels
from pocket.artwork import REALITY, TEACHERS
from pocket.data_sets import artwork, draw_scenes, write_scenes

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
TWIN_COSINE = {"clip": 0.5, "words": 0.6}  # at the published 0.8 no label of this world has a twin
IMAGES_PER_LABEL = 96
DATA = ZeroShotConfig(source="parquet", root="data/scenes", labels="configs/labels/pocket_24_8.yaml")
DEFAULT = SemanticTraining(
    model="test_resnet", image_size=32, rows=7, regularisation=0.3, epochs=10, batch_size=64, learning_rate=1e-2,
    cutout=0, randaugment=False, unknown="negative", device="cpu",
)  # fmt: skip
GENERATOR = GeneratorConfig(
    model="models/pocket/diffusion", width=32, height=32, guidance_scale=4.0, num_inference_steps=12
)
CLIP, ACCEPTANCE = ClipConfig(model="local-dir:models/pocket/clip"), CocoPolicy()  # configs/pocket's check
SYNTHESIS = SynthesisConfig(batch_size=64, image_format="png", shard_size=256, device="cpu", lanes=1)

# cell -> (its default's cell, changes of the recipe, drawings to train on, images added, label vectors)
Cell = tuple[str, Mapping[str, object], str, str, str]
CELLS: dict[str, Cell] = {
    "default": ("default", {}, "others", "none", "clip"),
    **{f"rows {m}": ("default", {"rows": m}, "others", "none", "clip") for m in (1, 2, 3, 5)},
    "no diversity weight": ("default", {"diversity_weight": False}, "others", "none", "clip"),
    **{f"regularisation {r}": ("default", {"regularisation": r}, "others", "none", "clip") for r in (None, 0.01, 0.1)},
    "mean over rows": ("default", {"pooling": "mean"}, "others", "none", "clip"),
    "generated": ("default", {}, "others", "generated", "clip"),
    "generated, unchecked": ("default", {}, "others", "unchecked", "clip"),
    "drawn": ("default", {}, "others", "drawn", "clip"),
    "same artist": ("same artist", {}, "same", "none", "clip"),
    "same artist, generated": ("same artist", {}, "same", "generated", "clip"),
    "word vectors": ("word vectors", {}, "others", "none", "words"),
    "word vectors, rows 1": ("word vectors", {"rows": 1}, "others", "none", "words"),
    "word vectors, no diversity weight": ("word vectors", {"diversity_weight": False}, "others", "none", "words"),
    "word vectors, regularisation None": ("word vectors", {"regularisation": None}, "others", "none", "words"),
    "word vectors, mean over rows": ("word vectors", {"pooling": "mean"}, "others", "none", "words"),
    "word vectors, generated": ("word vectors", {}, "others", "generated", "words"),
}


def space_of(vectors: str) -> LabelSpace:
    space = zero_shot_space(DATA)
    return space.choose([name for name in space.names if vectors == "clip" or name != "frog"])


def vectors_of(kind: str, space: LabelSpace, files: list[Path]) -> LabelVectors:
    """The pocket CLIP's, or the published word vectors, each name from the first file that has it."""
    if kind == "clip":
        return make_label_vectors(space, LabelVectorConfig(clip=CLIP))
    known: dict[str, np.ndarray] = {}
    for file in files:
        found = read_npz_vectors(file)
        known = dict(zip(map(key, found.names), found.vectors.numpy(), strict=True)) | known
    return LabelVectors.of(space.names, np.stack([known[key(name)] for name in space.names]), "word vectors")


def added(kind: str, space: LabelSpace, seed: int, work: Path) -> TaggedImages | None:
    """Images of unseen labels: by the generator, those that CLIP lets pass or all (``unchecked``), or, as their upper
    bound, as many scenes drawn with the training art."""
    count = IMAGES_PER_LABEL * len(space.unseen_ids)
    if kind == "none":
        return None
    if kind == "drawn":
        art = artwork(list(TEACHERS))
        pixels, targets = draw_scenes(art, space.names, space.names, 4 * count, 1000 + seed, DEFAULT.image_size)
        chosen = (targets[:, list(space.unseen_ids)] > 0).any(1).nonzero().flatten()[:count]
        return TaggedImages(pixels[chosen], targets[chosen])
    verdicts = made(space, seed, work)
    if kind == "generated":
        shown = shown_labels(verdicts)
    else:
        shown = dict(zip(verdicts["image_id"].to_pylist(), verdicts["labels"].to_pylist(), strict=True))
    return made_images(shown, Pool(work / "images"), space, DEFAULT.image_size)


def made(space: LabelSpace, seed: int, work: Path) -> pa.Table:
    """CLIP's verdicts on the generator's images of unseen labels, rendered now unless they were before."""
    plan, pool = work / f"plan-{len(space)}.parquet", Pool(work / "images")
    revision = model_revision(GENERATOR)
    write_plan(plan_pairs(space, space.unseen_ids, IMAGES_PER_LABEL, Origin(GENERATOR, revision, seed, "pairs")), plan)
    synthesise(plan, pool, SYNTHESIS)
    return validate(plan, pool, space, ClipScorer(CLIP), ACCEPTANCE)


def splits_of(cell: Cell, space: LabelSpace, seed: int, work: Path) -> Path:
    _, _, art, more, vectors = cell
    folder = work / f"{art}-{more}-{vectors}-{seed}"
    if not (folder / "done").is_file():
        files, drawn = artwork(list(REALITY if art == "same" else TEACHERS)), work / f"scenes-{art}-{vectors}-{seed}"
        write_scenes(drawn, space, train=4000, test=1000, seed=10 * seed, teachers=files)
        data = DATA.model_copy(update={"root": str(drawn), "seed": seed})
        write_splits(data, space, DEFAULT.image_size, folder, added(more, space, seed, work / f"made-{seed}"))
        (folder / "done").touch()
    return folder


def run(cell: Cell, seed: int, work: Path, files: list[Path]) -> dict[str, float]:
    """The kept epoch's measures."""
    space = space_of(cell[4])
    vectors = vectors_of(cell[4], space, files)
    splits = splits_of(cell, space, seed, work)
    config = DEFAULT.model_copy(update={**cell[1], "seed": seed, "twin_cosine": TWIN_COSINE[cell[4]]})
    start = time.process_time()
    trained = train_zero_shot(splits, space, vectors, config)
    row = {name: value for name, value in trained.history[trained.best_epoch - 1].items() if "/" in name}
    test = read_tagged(splits / "gzsl")
    unseen = columns_of(space, vectors)["zsl"]
    scores = predict_scores(trained.model, test.pixels, vectors.vectors, config.pooling).scores
    best = scores.topk(3).indices
    row["gzsl/unseen_share_of_top3"] = float(unseen[best].float().mean())
    correlation = spread_correlation(trained.model, test, vectors)
    row |= {"row_spread/all": correlation.all, "row_spread/two_or_more": correlation.with_two_or_more}
    return row | {"best_epoch": trained.best_epoch, "cpu_seconds": time.process_time() - start}


def chance(vectors: str, seed: int, splits: Path) -> dict[str, float]:
    """The same measures of scores that are noise."""
    space = space_of(vectors)
    columns = torch.zeros(len(space), dtype=torch.bool)
    columns[list(space.unseen_ids)] = True
    row = {}
    for name, chosen in (("zsl", columns), ("gzsl", torch.ones_like(columns))):
        test = read_tagged(splits / name)
        noise = torch.rand(len(test), int(chosen.sum()), generator=torch.Generator().manual_seed(seed))
        row |= {f"{name}/{what}": value for what, value in measures(noise, test.targets[:, chosen]).items()}
    return row


def interval(values: list[float]) -> dict[str, float]:
    """Mean and the half-width of its 95 % interval by Student's t; of one value, which has none, the value."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return {"mean": round(known[0], 4)} if known else {}
    half = student.ppf(0.975, len(known) - 1) * np.std(known, ddof=1) / len(known) ** 0.5
    return {"mean": round(float(np.mean(known)), 4), "half": round(float(half), 4)}


def summarise(rows: list[dict[str, float | str]]) -> dict[str, object]:
    by_cell: dict[str, dict[int, Mapping[str, float]]] = {}
    for row in rows:
        by_cell.setdefault(str(row["cell"]), {})[int(row["seed"])] = {
            k: float(v) for k, v in row.items() if k not in ("cell", "seed") and v != ""
        }
    summary = {}
    for name, runs in by_cell.items():
        base = by_cell.get(CELLS[name][0] if name in CELLS else name, {})
        shared = sorted(set(runs) & set(base))
        metrics = list(next(iter(runs.values())))
        summary[name] = {
            "seeds": sorted(runs),
            "measures": {m: interval([runs[s].get(m, math.nan) for s in runs]) for m in metrics},
            "minus_default": {
                m: interval([runs[s].get(m, math.nan) - base[s].get(m, math.nan) for s in shared])
                for m in metrics
                if "/" in m and base is not runs
            },
        }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("artifacts/benchmark_semantic"))
    parser.add_argument("--word-vectors", type=Path, nargs="*", default=[], help="npz files with names and vectors")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="run only these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = options.work / "runs.json"
    rows: list[dict[str, float | str]] = json.loads(file.read_text()) if file.is_file() else []
    done = {(row["cell"], row["seed"]) for row in rows}
    cells = {name: cell for name, cell in CELLS.items() if cell[4] == "clip" or options.word_vectors}
    for seed in options.seeds:
        for name, cell in cells.items():
            if (name, seed) not in done:
                measured = run(cell, seed, options.work, options.word_vectors)
                rows.append({"cell": name, "seed": seed, **measured})
                write_json(file, [{k: v for k, v in row.items() if v == v} for row in rows])
                shown = {k: round(measured[k], 3) for k in ("zsl/mAP", "gzsl/mAP", "gzsl/F1@3", "cpu_seconds")}
                print(seed, name, shown, flush=True)
    for seed in sorted({int(row["seed"]) for row in rows}):
        rows.append({"cell": "chance", "seed": seed, **chance("clip", seed, options.work / f"others-none-clip-{seed}")})
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(RESULTS / "semantic.csv", "w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    known = {
        kind: vectors_of(kind, space_of(kind), options.word_vectors) for kind in {cell[4] for cell in cells.values()}
    }
    found = {}
    for kind, vectors in known.items():
        space = space_of(kind)
        parts = [vectors.choose([space.names[i] for i in ids], kind) for ids in (space.unseen_ids, space.seen_ids)]
        found[kind] = {
            name: [twin, round(cosine, 3)] for name, (twin, cosine) in twins(*parts, TWIN_COSINE[kind]).items()
        }
    write_json(
        RESULTS / "semantic.json",
        {
            "recipe": DEFAULT.model_dump(mode="json"),
            "data": DATA.model_dump(mode="json"),
            "images_per_unseen_label": IMAGES_PER_LABEL,
            "check": {
                "policy": ACCEPTANCE.model_dump(),
                "reasons": {
                    seed: reasons(made(space_of("clip"), seed, options.work / f"made-{seed}")) for seed in options.seeds
                },
            },
            "twins": {"cosine": TWIN_COSINE, "found": found},
            "seeds": sorted({row["seed"] for row in rows}),
            "cells": summarise(rows),
            "software": {"python": platform.python_version(), "torch": torch.__version__},
            "cpu_minutes": round(sum(float(row.get("cpu_seconds", 0)) for row in rows) / 60, 1),
        },
    )


if __name__ == "__main__":
    main()
