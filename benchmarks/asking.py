"""Clicks to two shots a class by `figment ask`, on the drawings: a person who knows the classes answers the page.

    python -m benchmarks.asking [--seeds N] [--clusters N]

The classifiers are the first ones of benchmarks.rounds. Who answers names a cluster if most images shown are of one class, with
one click, and takes each odd one out with another; goes on until every class has two shots. Then a linear head on CLIP's features
is trained on the generated images and the shots, each class's shots weighing as much as its generated images, and measured on the
test images, beside heads without shots and with as many drawn from the unlabelled images by their true labels.
Writes benchmarks/results/asking.csv.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks.rounds import FOLDER
from benchmarks.tables.world import World
from figment.datasets.labelled import LabelledImages, read_labelled
from figment.evaluation.asking import SHOWN, cluster_doubted, disagreement
from figment.evaluation.features import clip_features
from figment.files import write_text
from figment.ops.environment import load_environment
from figment.ops.stack import fetch_data
from figment.planning.bag_of_tricks import COMBINED
from figment.synthesis.pool import Pool
from figment.training.classifier import predict
from figment.training.kinds.timm_classifier import TIMM
from figment.training.lists import TRAINING_LIST
from figment.training.saved import load_model
from figment.validation.features import FeatureStore

RESULTS = Path("benchmarks/results/asking.csv")
SHOTS = 2


def answer(groups: Sequence[Sequence[int]], truth: Tensor, classes: int) -> tuple[dict[int, int], int, float]:
    """(label by row, clicks, share of named clusters that were pure) of a person who stops at ``SHOTS`` of every class."""
    found: dict[int, int] = {}
    have: Counter[int] = Counter()
    clicks, pure = 0, []
    for group in groups:
        shown = group[:SHOWN]
        (label, count), *_ = Counter(truth[list(shown)].tolist()).most_common()
        if 2 * count <= len(shown) or have[label] >= SHOTS:
            continue  # of several classes, or of one that has enough: passed over
        clicks += 1 + len(shown) - count
        pure.append(count == len(shown))
        found |= {row: label for row in shown if truth[row] == label}
        have[label] += count
        if all(have[c] >= SHOTS for c in range(classes)):
            break
    return found, clicks, float(np.mean(pure)) if pure else 0.0


def head(made: tuple[Tensor, Tensor], shots: tuple[Tensor, Tensor]) -> LogisticRegression:
    """Fitted on features and labels of both; a class's shots weigh as much as its generated images."""
    features, labels = (torch.cat(pair).numpy() for pair in zip(made, shots, strict=True))
    counts = np.bincount(made[1]), np.bincount(shots[1], minlength=int(made[1].max()) + 1)
    weights = np.ones(len(labels))
    own = labels[len(made[1]) :]
    weights[len(made[1]) :] = counts[0][own] / counts[1][own]
    return LogisticRegression(C=10, max_iter=2000).fit(features, labels, sample_weight=weights)


def measure(world: World, unlabelled: LabelledImages, seed: int, clusters: int) -> dict[str, Any]:
    """What the clicks of one seed give."""
    folder = FOLDER / f"seed_{seed}"
    model = load_model(folder / "classifiers" / COMBINED, TIMM)
    features = clip_features(unlabelled, world.scorer).cpu().float()
    clip = world.scorer.compare(features, world.scorer.text_features(world.space)).cpu()
    student = predict(model.network, unlabelled.pixels)
    doubt = disagreement(student.softmax(1), clip.softmax(1))
    groups = cluster_doubted(features, doubt, clusters)
    found, clicks, pure = answer(groups, unlabelled.labels, len(world.space))
    chosen = pq.read_table(folder / "classifiers" / COMBINED / TRAINING_LIST)
    store = FeatureStore(Pool(folder / "images"), world.scorer)
    by_id = store.by_id(chosen["image_id"].to_pylist())
    made = (
        torch.stack([by_id[i] for i in chosen["image_id"].to_pylist()]).float(),
        torch.tensor([world.space.names.index(label) for label in chosen["label"].to_pylist()]),
    )
    rows = torch.tensor(list(found))
    dice = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(unlabelled), generator=dice)
    drawn = torch.cat([order[unlabelled.labels[order] == c][:SHOTS] for c in range(len(world.space))])
    test = clip_features(world.test, world.scorer).cpu().float().numpy()
    none = torch.zeros(0, dtype=torch.long)
    sets = {"no shots": none, "asked": rows, "drawn by label": drawn}
    heads = {name: head(made, (features[own], unlabelled.labels[own])).predict(test) for name, own in sets.items()}
    return {
        "seed": seed,
        "clusters": len(groups),
        "clicks": clicks,
        "shots": len(found),
        "classes with two": sum(count >= SHOTS for count in Counter(found.values()).values()),
        "pure": pure,
        "clip": float((clip.argmax(1) == unlabelled.labels).double().mean()),
        **{f"top1 {name}": float((said == world.test.labels.numpy()).mean()) for name, said in heads.items()},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--clusters", type=int, default=60)
    chosen = arguments.parse_args()
    load_environment()
    fetch_data()
    world = World(folder=FOLDER / "world")
    real = Path(world.parameters["real"]["path"])
    unlabelled = read_labelled(real, "unlabelled", world.space, world.size, None, "bilinear")
    lines = [measure(world, unlabelled, seed, chosen.clusters) for seed in range(chosen.seeds)]
    write_text(RESULTS, pd.DataFrame(lines).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    print(pd.DataFrame(lines).to_string())


if __name__ == "__main__":
    main()
