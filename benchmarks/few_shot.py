"""DIAGen's ablation in miniature: methods x shots x test sets on the pocket world, three seeds, diversity beside accuracy.

    python -m benchmarks.few_shot [--work FOLDER] [--methods NAME ...] [--seeds 0 1 2] [--shots 2 4 8]

Settings are those of configs/pocket/few_shot.yaml; a seed draws other shots, words, images and heads. Shots are the
drawings of reality, which neither the generator nor the backbone has seen; ``same_artists`` measures on other drawings of theirs,
``other_artists`` on those that the models learned from. Diversity is that of all images made for a method, against the
photos of ``same_artists``, in CLIP features. Writes benchmarks/results/few_shot.csv, a row a run, and few_shot.json: means with
95 % intervals (Student's t over seeds) and the paired differences to ``standard`` and to ``da_fusion``. Interrupted, the same
command goes on with the next run.
"""

import argparse
import csv
import json
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from benchmarks.tables.statistics import Mean, difference, mean
from figment.adaptation.config import InversionConfig, ProbeConfig
from figment.adaptation.textual_inversion import Probing, learn_concepts, probe_concepts
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import open_photos, photo_files, read_splits
from figment.datasets.labelled import StreamedImages
from figment.evaluation.features import clip_features
from figment.files import digest, write_json
from figment.labels import LabelSpace
from figment.metrics.accuracy import macro_accuracy
from figment.metrics.diversity import Labelled, diversity_ledger
from figment.planning.few_shot import RECIPE, Shot, Words, plan_few_shot
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.methods import Method
from figment.planning.plan import make_plan, write_plan
from figment.planning.sample_weights import confidence_weight, mean_effective_size
from figment.prompts.contexts import ContextConfig, make_contexts
from figment.synthesis.concepts import relative_noise
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.synthesis.sources import Sources
from figment.synthesis.weights import model_revision
from figment.training.backbone import load_backbone, view_features
from figment.training.config import FewShotTrainingConfig
from figment.training.few_shot import Made, filter_views, learn
from figment.training.filter_head import fit_filter
from figment.training.head import FeatureSet, HeadTraining, logits_of
from figment.training.lists import open_training_list
from figment.validation.features import FeatureStore

CONFIG = Path("configs/pocket/few_shot.yaml")
RESULTS = Path(__file__).parent / "results"
SEEDS, SHOTS = (0, 1, 2), (2, 4, 8)
TESTS = ("same_artists", "other_artists")
# Beyond the config's: two more uses of DA-Fusion's images, and what the true names do with contexts and weights.
MORE: dict[str, dict[str, Any]] = {
    "weights, global": {"images": 10, "concepts": True, "weights": "global"},
    "weights, reject": {"images": 10, "concepts": True, "weights": "reject"},
    "names, weights": {"images": 10, "weights": "per_photo"},
    "names, prompts": {"images": 10, "contexts": True},
}


@dataclass(frozen=True)
class Cell:
    """Everything that the methods of one seed and number of shots share."""

    shots: tuple[Shot, ...]
    features: FeatureSet
    words: Words
    probed: Mapping[str, float]


class Bench:
    """The pocket config, its models and test photos, each loaded once."""

    def __init__(self, work: Path):
        self.work = work
        p = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["parameters"]
        self.parameters = p
        self.space = LabelSpace.load(Path(p["labels"])).choose(p["classes"])
        self.data, self.training = FewShotDataConfig(**p["data"]), FewShotTrainingConfig(**p["training"])
        self.generator, self.clip = GeneratorConfig(**p["generator"]), ClipConfig(**p["clip"])
        self.synthesis = SynthesisConfig(**p["synthesis"], device="cpu", lanes=1)
        self.inversion, self.probe = (
            InversionConfig(**p["adaptation"]["inversion"]),
            ProbeConfig(**p["adaptation"]["probe"]),
        )
        self.methods = {name: Method(**fields) for name, fields in (p["methods"] | MORE).items()}
        self.revision = model_revision(self.generator)
        self.pool, self.sources = Pool(work / "images"), Sources(work / "sources")
        self.store = FeatureStore(self.pool, self.scorer)

    @cached_property
    def scorer(self) -> ClipScorer:
        return ClipScorer(self.clip)

    @cached_property
    def backbone(self):  # type: ignore[no-untyped-def]
        return load_backbone(self.training.backbone)

    @cached_property
    def contexts(self) -> dict[str, list[str]]:
        return make_contexts(self.space, ContextConfig(**self.parameters["prompts"]), self.work / "answers")

    @cached_property
    def renderers(self) -> Renderers:
        return Renderers(self.synthesis, Inputs(self.work / "adapters", self.work / "sources"))

    @cached_property
    def tests(self) -> dict[str, tuple[FeatureSet, Tensor]]:
        """By name: features (N, 1, D), and CLIP's (N, D)."""
        found = {}
        for name, listing in read_splits(self.data, self.space, 2, 0).tests.items():
            seen = self.views(open_photos(listing, self.training.backbone.image_size), 0, 0)
            clip = clip_features(StreamedImages(listing, self.scorer.size, "squash"), self.scorer)
            found[name] = FeatureSet(seen, listing.labels), clip
        return found

    def views(self, images: Any, views: int, seed: int) -> Tensor:
        batch = self.training.backbone.batch_size
        return view_features(images, self.backbone, batch, self.training.augmentation, views, seed)

    def cell(self, shots: int, seed: int, needs_words: bool) -> Cell:
        listing = read_splits(self.data, self.space, shots, seed).shots
        files = [self.sources.keep(content) for _, content in photo_files(listing)]
        labels = [self.space.labels[i] for i in listing.labels.tolist()]
        photos = open_photos(listing, self.training.backbone.image_size)
        features = FeatureSet(self.views(photos, self.training.views, seed), listing.labels)
        words, probed = Words(), {}
        if needs_words:
            words, probed = self.learn_words(files, [label.name for label in labels], seed)
        return Cell(tuple(map(Shot, files, labels)), features, words, probed)

    def learn_words(self, files: list[str], names: list[str], seed: int) -> tuple[Words, dict[str, float]]:
        """The usable words of these shots, learned now unless they were before."""
        config = self.inversion.model_copy(update={"seed": seed})
        kept = (
            self.work / "words" / f"{digest([files, names, config.model_dump(mode='json'), self.revision])[:24]}.json"
        )
        if not kept.is_file():
            images: dict[str, list[np.ndarray]] = {name: [] for name in self.space.names}
            for name, file in zip(names, files, strict=True):
                images[name].append(np.asarray(self.sources.read(file)))
            said = {label.name: label.prompt_name for label in self.space.labels}
            adapter = learn_concepts(self.generator, images, said, config, self.work / "adapters")
            probes = probe_concepts(adapter, Probing(self.generator, images, self.scorer, self.probe, self.synthesis))
            lengths = {name: relative_noise(adapter, name, 1.0) for name, found in probes.items() if found.usable}
            numbers = {
                "usable_words": len(lengths),
                "word_retrieval": float(np.mean([found.retrieval for found in probes.values()])),
                "word_similarity": float(np.mean([found.similarity for found in probes.values()])),
            }
            write_json(kept, {"adapter": adapter.stem, "lengths": lengths, "numbers": numbers})
        found = json.loads(kept.read_text(encoding="utf-8"))
        return Words(found["adapter"], found["lengths"]), found["numbers"]

    def run(self, names: list[str], shots: int, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
        """The measures of each method."""
        methods = {name: self.methods[name] for name in names}
        cell = self.cell(shots, seed, any(method.concepts for method in methods.values()))
        origin = Origin(self.generator, self.revision, seed, RECIPE)
        planned = {
            name: [
                (number, row)
                for number, shot in enumerate(cell.shots)
                for row in plan_few_shot([shot], method, self.contexts, cell.words, origin)
            ]
            for name, method in methods.items()
        }
        plan = make_plan([row for rows in planned.values() for _, row in rows])
        made, weights, clip = self.make(plan, cell, seed) if len(plan) else (None, None, None)
        order = {image_id: i for i, image_id in enumerate(plan["image_id"].to_pylist())}
        for name, method in methods.items():
            start = time.process_time()
            rows = torch.tensor([order[row.image_id] for _, row in planned[name]], dtype=torch.long)
            own = None
            if made is not None and weights is not None and len(rows):
                sources = torch.tensor([number for number, _ in planned[name]])
                own = Made(made.features[rows], sources, weights[rows])
            found, use = learn(method, cell.features, own, HeadTraining(len(self.space), self.training.head, seed))
            measured = {
                test: macro_accuracy(logits_of(found.head, seen.features[:, 0]), seen.labels)
                for test, (seen, _) in self.tests.items()
            }
            if own is not None and clip is not None and weights is not None:
                measured |= self.diversity(clip[rows], cell.features.labels[own.sources])
                measured["mean_weight"] = float(weights[rows].mean())
                measured["effective_size"] = mean_effective_size(use, own.sources)
            measured |= cell.probed if method.concepts else {}
            yield name, measured | {"head_cpu_seconds": time.process_time() - start}

    def make(self, plan: Any, cell: Cell, seed: int) -> tuple[FeatureSet, Tensor, Tensor]:
        """Features of the plan's images, their weights, and CLIP's features, all in the plan's order."""
        file = self.work / "plan.parquet"
        write_plan(plan, file)
        synthesise(file, self.pool, self.synthesis, renderers=self.renderers, observer=self.store)
        self.store.complete()
        ids = plan["image_id"].to_pylist()
        clip = {i: row for found, part in self.store.read(ids) for i, row in zip(found, part, strict=True)}
        listed = plan.select(["image_id"]).append_column("label", [[names[0] for names in plan["labels"].to_pylist()]])
        size = self.training.backbone.image_size
        images = open_training_list(listed, self.pool, self.space, size, "of made images", "squash")
        made = FeatureSet(self.views(images, self.training.views, seed), images.labels)
        judge = fit_filter(filter_views(cell.features), HeadTraining(len(self.space), self.training.filter, seed))
        own = judge.probabilities(filter_views(made).features).gather(1, made.labels[:, None])[:, 0]
        return made, confidence_weight(own).double(), torch.stack([clip[i] for i in ids]).float()

    def diversity(self, clip: Tensor, labels: Tensor) -> dict[str, float]:
        seen, real = self.tests[TESTS[0]]
        ledger = diversity_ledger(Labelled(clip, labels), Labelled(real, seen.labels), self.space.names)
        values = {"vendi": ledger.vendi, "distance": ledger.distance, "frechet": ledger.frechet}
        return values | {name: getattr(ledger.reach, name) for name in ("recall", "coverage", "precision")}


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """By shots and method: each measure's mean over seeds with its interval, and its paired differences."""
    summary: dict[str, Any] = {}
    for shots, of_shots in table.groupby("shots"):
        cells = summary.setdefault(str(shots), {})
        for name, own in of_shots.groupby("recipe", sort=False):
            measures = [c for c in own if c not in ("recipe", "seed", "shots") and own[c].notna().any()]
            cells[name] = {
                "seeds": sorted(own["seed"].tolist()),
                "measures": {m: rounded(mean(own[m])) for m in measures},
            }
            for base in ("standard", "da_fusion"):
                if name != base and base in set(of_shots["recipe"]):
                    cells[name][f"minus_{base}"] = {t: rounded(difference(of_shots, name, base, t)) for t in TESTS}
    return summary


def rounded(found: Mean) -> dict[str, float]:
    interval = {} if np.isnan(found.low) else {"low": round(found.low, 4), "high": round(found.high, 4)}
    return {"mean": round(found.value, 4), **interval}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("artifacts/benchmark_few_shot"))
    parser.add_argument("--methods", nargs="*", help="run only these")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--shots", type=int, nargs="*", default=SHOTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.work)
    names = options.methods or list(bench.methods)
    file = options.work / "runs.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for seed in options.seeds:
        for shots in options.shots:
            done = {row["recipe"] for row in rows if (row["seed"], row["shots"]) == (seed, shots)}
            todo = [name for name in names if name not in done]
            start = time.process_time()
            found = [
                {"recipe": n, "shots": shots, "seed": seed, **measured} for n, measured in bench.run(todo, shots, seed)
            ]
            spent = (time.process_time() - start) / max(1, len(found))
            rows += [{**row, "cpu_seconds": spent} for row in found]
            write_json(file, rows)
            for row in found:
                print(seed, shots, row["recipe"], {t: round(100 * row[t], 1) for t in TESTS}, flush=True)
    order = list(bench.methods)
    table = pd.DataFrame(sorted(rows, key=lambda r: (r["shots"], order.index(r["recipe"]), r["seed"])))
    with open(RESULTS / "few_shot.csv", "w", newline="", encoding="utf-8") as output:
        table.round(5).to_csv(output, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
    write_json(
        RESULTS / "few_shot.json",
        {
            "config": bench.parameters,
            "methods": {name: method.model_dump(mode="json") for name, method in bench.methods.items()},
            "cells": summarise(table),
            "cpu_minutes": round(table["cpu_seconds"].sum() / 60, 1),
            "software": {"python": platform.python_version(), "torch": torch.__version__},
        },
    )


if __name__ == "__main__":
    main()
