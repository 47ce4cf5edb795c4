"""What LoRAs learned from a few photos are worth on the pocket models, beside the same images made without them.

    python -m benchmarks.lora --seeds 3     # a few minutes of a core; resumes where it was interrupted

The generator learned its objects from other artists' drawings; the photos are 8 of each of five classes. Every method
makes 4 images of each photo (image to image at strength 0.7, the class's name in the prompt) and trains the few-shot recipe's
linear head. Measured beside the accuracy on both test sets: the share of images that CLIP accepts (bag of tricks' rule), of these
and of 16 of each class from noise.

Writes benchmarks/results/lora.json: by method the mean over seeds with its interval, and differences to the names alone.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.few_shot import TESTS, Bench, Cell, rounded
from benchmarks.pocket_shots import TEMPLATES
from benchmarks.tables.statistics import difference, mean
from figment.adaptation.config import LoraConfig
from figment.adaptation.lora import learn_loras, probe_loras
from figment.adaptation.textual_inversion import Probing
from figment.files import digest, write_json
from figment.ops.run import quieten
from figment.planning.methods import Method
from figment.planning.row import Row, record_of
from figment.synthesis.batches import fill_batches
from figment.validation.policies import Top1Policy

RESULTS = Path(__file__).parent / "results"
SHOTS, FROM_NOISE = 8, 16
CLASSES = ("bird", "cat", "deer", "dog", "horse")  # those that are most alike
LEARNING = LoraConfig(steps=40, learning_rate=1e-3, rank=8, templates=TEMPLATES)
METHODS = {
    "photos alone": (Method(), None),
    "class names": (Method(images=4), None),
    "a LoRA a class": (Method(images=4, lora=True), {"per": "class"}),
    "one LoRA for all": (Method(images=4, lora=True), {"per": "all", "steps": 100}),
}
MEASURES = (*TESTS, "acceptance", "acceptance_from_noise", "lora_retrieval", "usable_loras")


class LoraBench(Bench):
    """The few-shot benchmark with LoRAs of one setting, or none."""

    setting: Mapping[str, Any] | None = None
    loras: Mapping[str, str] = {}

    def __init__(self, work: Path):
        super().__init__(work)
        self.space = self.space.choose(CLASSES)

    def cell(self, shots: int, seed: int, needs_words: bool) -> Cell:
        cell = super().cell(shots, seed, needs_words)
        self.loras, probed = self.learned(cell, seed) if self.setting else ({}, {})
        return replace(cell, words=replace(cell.words, loras=self.loras), probed=probed)

    def learned(self, cell: Cell, seed: int) -> tuple[dict[str, str], dict[str, float]]:
        """The usable LoRAs of these shots, learned now unless they were before, and what the probe says."""
        config = LEARNING.model_copy(update={"seed": seed, **(self.setting or {})})
        files = [shot.image for shot in cell.shots]
        kept = self.work / "loras" / f"{digest([files, config.model_dump(mode='json'), self.revision])[:24]}.json"
        if not kept.is_file():
            photos: dict[str, list[np.ndarray]] = {name: [] for name in self.space.names}
            for shot in cell.shots:
                photos[shot.label.name].append(np.asarray(self.sources.read(shot.image)))
            names = {label.name: label.prompt_name for label in self.space.labels}
            folder = self.work / "adapters"
            loras = learn_loras(self.generator, photos, names, config, folder)
            made = probe_loras(
                loras, names, folder, Probing(self.generator, photos, self.scorer, self.probe, self.synthesis)
            )
            retrieval = float(np.mean([probe.retrieval for probe in made.probes.values()]))
            numbers = {"lora_retrieval": retrieval, "usable_loras": len(made.loras)}
            write_json(kept, {"loras": made.loras, "numbers": numbers})
        found = json.loads(kept.read_text(encoding="utf-8"))
        return found["loras"], found["numbers"]

    def diversity(self, clip: Tensor, labels: Tensor) -> dict[str, float]:
        return {"acceptance": self.acceptance(clip, labels), "acceptance_from_noise": self.from_noise()}

    def acceptance(self, features: Tensor, labels: Tensor) -> float:
        """The share of images with these CLIP features that show their class, as the bag of tricks has it."""
        logits = self.scorer.compare(features, self.scorer.text_features(self.space)).cpu()
        own = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        passed = (own >= Top1Policy().min_probability) & (logits.argmax(1) == labels)
        return float(passed.double().mean())

    def from_noise(self) -> float:
        rows = [
            record_of(
                Row(
                    prompt=f"a photo of a {label.prompt_name}", labels=(label.name,), recipe="benchmark", trick="noise", stream=0,
                    replicate=i, shared_noise=f"{label.name} {i}",
                    **self.generator.columns(self.revision, self.loras.get(label.name, "")),
                )
            )
            for label in self.space.labels
            for i in range(FROM_NOISE)
        ]  # fmt: skip
        generator = self.renderers.load(self.generator.model, self.revision)
        batches = list(fill_batches(rows, lambda: self.synthesis.batch_size))
        features = torch.cat([self.scorer.image_features(generator.render(batch).pixels) for batch in batches])
        labels = [self.space.names.index(row["labels"][0]) for batch in batches for row in batch]
        return self.acceptance(features, torch.tensor(labels))


def markdown(methods: Mapping[str, Any]) -> str:
    """Means in %, with the paired differences to the names alone."""
    lines = ["| | " + " | ".join(m.replace("_", " ") for m in MEASURES[:4]) + " |", "|---" * 5 + "|"]
    for name, found in methods.items():
        cells = []
        for measure in MEASURES[:4]:
            mean, pair = found["means"].get(measure), found.get("minus class names", {}).get(measure)
            cells.append(f"{100 * mean['mean']:.1f}" if mean else "")
            if pair:
                cells[-1] += f" ({100 * pair['mean']:+.1f} [{100 * pair['low']:+.1f}, {100 * pair['high']:+.1f}])"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    quieten()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("artifacts/benchmark_lora"))
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = LoraBench(options.work)
    bench.methods = {name: method for name, (method, _) in METHODS.items()}
    file = options.work / "runs.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for seed in range(options.seeds):
        for name, (_, setting) in METHODS.items():
            start = time.process_time()
            if any((row["recipe"], row["seed"]) == (name, seed) for row in rows):
                continue
            bench.setting = setting
            rows += [{"recipe": n, "seed": seed, **found} for n, found in bench.run([name], SHOTS, seed)]
            rows[-1]["cpu_seconds"] = time.process_time() - start
            write_json(file, rows)
            print(seed, name, {m: round(rows[-1][m], 3) for m in MEASURES if m in rows[-1]}, flush=True)
    table = pd.DataFrame(rows)
    methods = {}
    for name in METHODS:
        own = table[table["recipe"] == name]
        measures = [m for m in MEASURES if m in own and own[m].notna().any()]
        methods[name] = {"seeds": own["seed"].tolist(), "means": {m: rounded(mean(own[m])) for m in measures}}
        if name not in ("photos alone", "class names"):
            pairs = {m: rounded(difference(table, name, "class names", m)) for m in (*TESTS, *MEASURES[2:4])}
            methods[name]["minus class names"] = pairs
    print(markdown(methods))
    learning = LEARNING.model_dump(mode="json")
    write_json(
        RESULTS / "lora.json", {"shots": SHOTS, "classes": bench.space.names, "learning": learning, "methods": methods}
    )


if __name__ == "__main__":
    main()
