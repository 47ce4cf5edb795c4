"""Tailored images on the pocket scenes: which of the paper's parts help, one by one and together (Zhang et al. 2024).

    python -m benchmarks.tailored [--work FOLDER] [--seeds 0 1 2]

{template, language model} prompts x {no filter, the paper's filter, CLIP asked for classes in company and against all} x
{generator as it is, tuned} x {fusion off, on}; beside them CLIP as
it is, dual prompts that saw no generated image, and an upper bound that saw real images of the unseen classes by the
artist of the test images. Three seeds draw prompts, tuning, images, scenes and weights again; all sets have the same
number of images a pair, so that a filter is not paid for in size. Writes benchmarks/results/tailored.csv, a row a run, and
tailored.json: means, 95 % intervals (Student's t) and paired differences. Interrupted, the same command goes on.
"""

import argparse
import csv
import json
import platform
import time
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.filter_quality import filter_quality
from figment.adaptation.stage import Material
from figment.adaptation.text_encoder import Tuned, TuningConfig, tune_text_encoder
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.tagged import TaggedImages, read_tagged
from figment.datasets.zero_shot import ZeroShotConfig, write_splits, zero_shot_space
from figment.files import write_json
from figment.planning.from_prompts import plan_prompts
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.plan import read_plan, write_plan
from figment.prompts.chat import ChatConfig
from figment.prompts.pair_book import PairPromptConfig, write_pair_prompts
from figment.prompts.tricks import Prompt
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.weights import model_revision
from figment.training.config import DualPromptTraining
from figment.training.tailored import accepted_images, clip_scorer, test_evaluator, train_tailored
from figment.validation.features import FeatureStore
from figment.validation.policies import CocoPolicy
from figment.validation.validate import validate
from pocket.artwork import REALITY
from pocket.data_sets import artwork, draw_scenes, write_scenes
from pocket.judge import judge_pool

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
MADE, KEPT = 24, 12  # images a pair: rendered, trained on
SIZE = 32
DATA = ZeroShotConfig(source="parquet", root="data/scenes", labels="configs/labels/pocket_24_8.yaml")
SPACE = zero_shot_space(DATA)
UNSEEN = SPACE.choose([SPACE.names[i] for i in SPACE.unseen_ids])
GENERATOR = GeneratorConfig(
    model="models/pocket/diffusion", width=32, height=32, guidance_scale=4.0, num_inference_steps=12
)
SYNTHESIS = SynthesisConfig(batch_size=64, image_format="png", shard_size=256, device="cpu", lanes=1)
CLIP = ClipConfig(model="local-dir:models/pocket/clip", templates=("a photo of a {name}",), device="cpu")
COMPANY = ("a photo of a {name}", "a photo of a {name} and a {other}", "a photo of a {other} and a {name}")
CHAT = ChatConfig(model="models/pocket/chat", max_new_tokens=400, device="cpu")
TUNING = TuningConfig(
    steps=100, batch_size=8, learning_rate=4e-4, width=32, height=32, num_inference_steps=12, differentiated_steps=6,
    checkpointing=False, held_out=0.2, evaluate_every=25, evaluated_images=216, evaluation_batch=36, device="cpu",
)  # fmt: skip
CLASSIFIER = DualPromptTraining(
    backbone=CLIP, image_size=SIZE,
    context=4, batches="mixed", epochs=6, batch_size=32, learning_rate=0.02, fusion_learning_rate=0.01,
    warmup_rate=0.001, cutout=0, randaugment=False, device="cpu",
)  # fmt: skip
FUSION = 0.1
JUDGE = Path("models/pocket/judge/judge.safetensors")
FACTORS = {
    "prompts": ("template", "language model"),
    "filter": ("no filter", "filter", "filter in company"),
    "generator": ("as it is", "tuned"),
    "fusion": ("plain", "fusion"),
}
REFERENCES = ("CLIP as it is", "no generated images", "no generated images, fusion", "real images, fusion")
MEASURES = ("zsl/mAP", "zsl/F1@3", "gzsl/mAP", "gzsl/F1@3")


@cache
def splits(seed: int, work: Path) -> Path:
    folder = work / f"scenes-{seed}"
    if not (folder / "done").is_file():
        write_scenes(folder / "drawn", SPACE, train=1500, test=1000, seed=10 * seed)
        data = DATA.model_copy(update={"root": str(folder / "drawn"), "seed": seed})
        write_splits(data, SPACE, SIZE, folder)
        (folder / "done").touch()
    return folder


@cache
def book(kind: str, seed: int, work: Path) -> list[Prompt]:
    config = PairPromptConfig()
    if kind == "language model":
        config = PairPromptConfig(chat=CHAT.model_copy(update={"seed": seed}), per_pair=10, instruction="pair")
    return write_pair_prompts(UNSEEN, config, work / "answers").prompts


@cache
def tuned(seed: int, work: Path) -> Tuned:
    """On the language model's prompts, as in the paper."""
    file = work / f"tuned-{seed}.json"
    if not file.is_file():
        start = time.process_time()
        result = tune_text_encoder(
            book("language model", seed, work),
            Material(work / f"tuning-{seed}", UNSEEN, GENERATOR, CLIP, SYNTHESIS, CocoPolicy()),
            TUNING.model_copy(update={"seed": seed}),
            str(seed),
        )
        write_json(file, {**result.model_dump(mode="json"), "cpu_seconds": time.process_time() - start})
        source = work / f"tuning-{seed}" / "adapters"
        (work / "adapters").mkdir(exist_ok=True)
        for adapter in source.glob("*.safetensors"):
            adapter.rename(work / "adapters" / adapter.name)
    found = json.loads(file.read_text(encoding="utf-8"))
    del found["cpu_seconds"]
    return Tuned.model_validate(found)


def images(prompts: str, generator: str, seed: int, work: Path) -> list[dict]:
    """Of every planned image its pair, its replicate, whether either filter passed it and whether the judge finds it right."""
    file = work / f"{prompts}-{generator}-{seed}-judged.json".replace(" ", "_")
    if not file.is_file():
        adapter = tuned(seed, work).adapter if generator == "tuned" else ""
        plan, pool = work / "plan.parquet", Pool(work / "images")
        write_plan(
            plan_prompts(
                book(prompts, seed, work), Origin(GENERATOR, model_revision(GENERATOR), seed, "tailored", adapter), MADE
            ),
            plan,
        )
        synthesise(
            plan, pool, SYNTHESIS,
            renderers=Renderers(SYNTHESIS, Inputs.beside(plan)), observer=FeatureStore(pool, ClipScorer(CLIP)),
        )  # fmt: skip
        verdicts = validate(plan, pool, UNSEEN, ClipScorer(CLIP), CocoPolicy()).to_pylist()
        company = CLIP.model_copy(update={"templates": COMPANY})
        stricter = validate(plan, pool, SPACE, ClipScorer(company), CocoPolicy()).to_pylist()
        passes = {row["image_id"]: row["accepted"] for row in stricter}
        right = judge_pool(JUDGE, [row["image_id"] for row in verdicts], pool)
        replicate = {row["image_id"]: row["replicate"] for row in read_plan(plan).to_pylist()}
        rows = [
            {
                "image_id": row["image_id"],
                "labels": row["labels"],
                "replicate": replicate[row["image_id"]],
                "filter": row["accepted"],
                "filter in company": passes[row["image_id"]],
                "right": right[row["image_id"]],
            }
            for row in verdicts
        ]
        write_json(file, rows)
    return json.loads(file.read_text(encoding="utf-8"))


def chosen(rows: Sequence[dict], filtered: str) -> dict[str, list[str]]:
    """The first ``KEPT`` images of every pair, of all or of those that a filter passed."""
    shown: dict[str, list[str]] = {}
    counts: dict[tuple[str, ...], int] = {}
    for row in sorted(rows, key=lambda row: row["replicate"]):
        pair = tuple(row["labels"])
        if row.get(filtered, True) and counts.get(pair, 0) < KEPT:
            counts[pair] = counts.get(pair, 0) + 1
            shown[row["image_id"]] = row["labels"]
    return shown


def no_images() -> TaggedImages:
    return TaggedImages(torch.empty(0, 3, SIZE, SIZE, dtype=torch.uint8), torch.empty(0, len(SPACE), dtype=torch.int8))


def real_images(count: int, seed: int) -> TaggedImages:
    """Scenes of unseen objects by the artists of the test images, other scenes than those; the seen ones not told."""
    pixels, targets = draw_scenes(artwork(list(REALITY)), SPACE.names, UNSEEN.names, count, 5000 + seed, SIZE)
    targets[:, list(SPACE.seen_ids)] = -1
    return TaggedImages(pixels, targets)


def run(cell: str, seed: int, work: Path) -> dict[str, float]:
    """The kept epoch's measures."""
    folder, start = splits(seed, work), time.process_time()
    if cell == "CLIP as it is":
        zsl, gzsl = (read_tagged(folder / name) for name in ("zsl", "gzsl"))
        return test_evaluator(SPACE, zsl, gzsl)(clip_scorer(CLIP, SPACE))
    if cell.startswith("no generated images"):
        made, count = no_images(), 0
    elif cell.startswith("real images"):
        made = real_images(KEPT * 36, seed)
        count = len(made)
    else:
        prompts, filtered, generator, _ = cell.split(", ")
        shown = chosen(images(prompts, generator, seed, work), filtered)
        made = accepted_images(shown, Pool(work / "images"), SPACE, SIZE)
        count = len(made)
    fused = cell.endswith(", fusion")
    config = CLASSIFIER.model_copy(update={"seed": seed, "fusion_scale": FUSION if fused else None})
    trained, row = train_tailored(folder, made, SPACE, config)
    return row | {"images": count, "best_epoch": trained.best_epoch, "cpu_seconds": time.process_time() - start}


def cells() -> list[str]:
    return [*REFERENCES, *(", ".join(levels) for levels in product(*FACTORS.values()))]


def interval(values: Iterable[float]) -> dict[str, float]:
    found = np.array(list(values))
    half = (
        student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5 if len(found) > 1 else float("nan")
    )
    return {"mean": float(found.mean()), "half": float(half), "seeds": len(found)}


def effects(rows: Sequence[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """Of every level of a factor the change from its first level, averaged over all other factors, paired within a seed."""
    by_cell = {(row["cell"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    found: dict[str, dict[str, dict[str, float]]] = {}
    for factor, (base, *levels) in FACTORS.items():
        place = list(FACTORS).index(factor)
        rest = list(product(*(values for name, values in FACTORS.items() if name != factor)))
        for level in levels:
            found[level] = {}
            for measure in MEASURES:
                changes = [
                    np.mean(
                        [
                            by_cell[_name(others, place, level), seed][measure]
                            - by_cell[_name(others, place, base), seed][measure]
                            for others in rest
                        ]
                    )
                    for seed in seeds
                ]
                found[level][measure] = interval(changes)
    return found


def _name(others: tuple[str, ...], place: int, level: str) -> str:
    return ", ".join((*others[:place], level, *others[place:]))


def filters(seeds: Sequence[int], work: Path) -> dict[str, dict]:
    """Yields and the judge's word on each kind of images, pairs apart, all seeds together."""
    found: dict[str, dict] = {}
    for prompts, generator, which in product(FACTORS["prompts"], FACTORS["generator"], FACTORS["filter"][1:]):
        for kind, size in (("pairs", 2), ("alone", 1)):
            each = [[r for r in images(prompts, generator, s, work) if len(r["labels"]) == size] for s in seeds]
            rows = [row for some in each for row in some]
            quality = filter_quality([row[which] for row in rows], [row["right"] for row in rows])
            accepted = interval(float(np.mean([row[which] for row in some])) for some in each)
            found[f"{prompts}, {generator}, {which}, {kind}"] = {"passed": accepted, **quality.model_dump()}
    return found


def passing(seeds: Sequence[int], work: Path) -> dict[str, dict]:
    """What tuning did to the share that passes the paper's filter, by class, on the template's prompts, which never tuned:
    over seeds, and pooled with an interval for the difference of two proportions."""
    found = {}
    for name in (*UNSEEN.names, "all"):
        passed = {
            kind: [
                np.array([r["filter"] for r in images("template", kind, seed, work) if name in ("all", *r["labels"])])
                for seed in seeds
            ]
            for kind in FACTORS["generator"]
        }
        before, after = (np.concatenate(passed[kind]) for kind in FACTORS["generator"])
        half = 1.96 * (before.var() / len(before) + after.var() / len(after)) ** 0.5
        found[name] = {
            "before": float(before.mean()),
            "change": float(after.mean() - before.mean()),
            "half": float(half),
            "images": len(before),
            "over_seeds": interval(b.mean() - a.mean() for a, b in zip(*passed.values(), strict=True)),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("artifacts/benchmarks/tailored"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    file = options.work / "runs.json"
    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    done = {(row["cell"], row["seed"]) for row in rows}
    for seed in options.seeds:
        for cell in cells():
            if (cell, seed) not in done:
                measured = run(cell, seed, options.work)
                rows.append({"cell": cell, "seed": seed, **measured})
                write_json(file, rows)
                print(
                    seed,
                    cell,
                    {k: round(measured[k], 3) for k in MEASURES},
                    round(measured.get("cpu_seconds", 0)),
                    flush=True,
                )
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(RESULTS / "tailored.csv", "w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([{k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows])
    by_cell = {cell: [row for row in rows if row["cell"] == cell] for cell in cells()}
    found = {
        "cells": {c: {m: interval(row[m] for row in found) for m in MEASURES} for c, found in by_cell.items() if found},
        "effects": effects(rows),
        "filter": filters(options.seeds, options.work),
        "passing": passing(options.seeds, options.work),
        "tuning": [tuned(seed, options.work).model_dump(mode="json") for seed in options.seeds],
        "classifier": CLASSIFIER.model_dump(mode="json"),
        "software": {"python": platform.python_version(), "torch": torch.__version__},
    }
    without_nan = json.loads(json.dumps(found), parse_constant=lambda name: None)  # a share of nothing is null
    write_json(RESULTS / "tailored.json", without_nan)


if __name__ == "__main__":
    main()
