"""How long CLIP takes to score an image: in batches, and in the one-image loop of the papers' code.

    .venv/bin/python -m benchmarks.scoring

The loop is what the published validators do for every image: tokenise and encode all class names, then encode the one
image (Zhang et al. 2024). Each variant ends in the same grouping softmax; same model, images and processor. Batched
scoring encodes the class names once for a whole pool, so that is timed apart. The variants take turns; medians and the
fastest of all turns are written to benchmarks/results/scoring.json.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.files import write_json
from figment.labels import LabelSpace
from figment.validation import grouping_softmax

BATCH, LOOP, REPEATS, SEED = 64, 16, 9, 0  # LOOP: images of one turn of the slow variants
SPACES = ("configs/labels/coco_48_17.yaml", "configs/labels/nus_wide_81.yaml")
RESULT = Path("benchmarks/results/scoring.json")


@torch.inference_mode()
def one_by_one(scorer: ClipScorer, labels: LabelSpace, pixels: Tensor, requested: Tensor) -> Tensor:
    """(N, C) probabilities as the published loop computes them: nothing is kept between images."""
    rows = []
    for raw, asked in zip(pixels, requested, strict=True):
        resized = F.interpolate((raw[None] - scorer.mean) / scorer.std, scorer.size)
        tokens = scorer.tokenizer([label.prompt_name for label in labels.labels]).to(scorer.device)
        image, text = scorer.model.encode_image(resized), scorer.model.encode_text(tokens)
        logits = scorer.model.logit_scale.exp() * F.cosine_similarity(image, text)
        rows.append(grouping_softmax(logits[None], asked[None]))
    return torch.cat(rows)


@torch.inference_mode()
def batched(scorer: ClipScorer, text: Tensor, pixels: Tensor, requested: Tensor) -> Tensor:
    """(N, C) with the class names' features (C, D) at hand."""
    return grouping_softmax(scorer.logits(pixels, text), requested)


def measure(path: str, threads: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Times of every variant over the unseen classes of a label space."""
    torch.set_num_threads(threads)
    config = ClipConfig(model="local-dir:models/pocket/clip", templates=("{name}",), batch_size=BATCH, device="cpu")
    scorer, fast = ClipScorer(config), ClipScorer(config)
    scorer.model, _, _ = open_clip.create_model_and_transforms(config.model)  # the tower as open_clip builds it
    scorer.model.eval().requires_grad_(False)
    space = LabelSpace.load(Path(path))
    labels = space.choose([space.names[i] for i in space.unseen_ids])
    generator = torch.Generator().manual_seed(SEED)
    pixels = torch.rand(BATCH, 3, scorer.size, scorer.size, generator=generator)
    requested = torch.zeros(BATCH, len(labels), dtype=torch.bool)
    for row in requested:
        row[torch.randperm(len(labels), generator=generator)[:2]] = True
    text = scorer.text_features(labels)
    variants: dict[str, Callable[[int], Tensor]] = {
        "one_by_one": lambda n: one_by_one(scorer, labels, pixels[:n], requested[:n]),
        "one_by_one_with_kept_names": lambda n: torch.cat(
            [batched(scorer, text, pixels[i : i + 1], requested[i : i + 1]) for i in range(n)]
        ),
        "batched": lambda n: batched(scorer, text, pixels, requested),
        "batched_fast_tower": lambda n: batched(fast, text, pixels, requested),
        "names_once_for_a_pool": lambda n: scorer.text_features(labels),
    }
    counts = {"one_by_one": LOOP, "one_by_one_with_kept_names": LOOP, "names_once_for_a_pool": 1}
    scores = {name: variant(LOOP)[:LOOP] for name, variant in variants.items()}  # warms up, too
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(REPEATS):
        for name, variant in variants.items():
            start = clock()
            variant(LOOP)
            times[name].append(1000 * (clock() - start) / counts.get(name, BATCH))
    median = {name: statistics.median(t) for name, t in times.items()}
    return {
        "classes": len(labels),
        "threads": threads,
        "clock": clock.__name__,
        "milliseconds_per_image": {name: round(value, 4) for name, value in median.items()},
        "fastest_turn": {name: round(min(t), 4) for name, t in times.items()},
        "times_faster_than_one_by_one": {
            name: {
                "median": round(median["one_by_one"] / median[name], 1),
                "fastest": round(min(times["one_by_one"]) / min(times[name]), 1),
            }
            for name in ("one_by_one_with_kept_names", "batched", "batched_fast_tower")
        },
        "largest_difference_of_probabilities": {
            name: float((scores[name] - scores["one_by_one"]).abs().max())
            for name in ("one_by_one_with_kept_names", "batched", "batched_fast_tower")
        },
    }


def main() -> None:
    runs = []
    for path in SPACES:
        for threads, clock in ((1, time.process_time), (os.cpu_count() or 1, time.perf_counter)):
            runs.append(measure(path, threads, clock))
            faster = runs[-1]["times_faster_than_one_by_one"]
            print(
                f"{runs[-1]['classes']} classes, {threads} threads: " + ", ".join(f"{n} {v}" for n, v in faster.items())
            )
    write_json(
        RESULT,
        {
            "model": "models/pocket/clip",
            "batch_size": BATCH,
            "repeats": REPEATS,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
