"""The gates before training: what will be learnt from, and what will measure it."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.datasets.config import RealConfig
from figment.datasets.labelled import has_split, open_labelled
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.synthesis.pool import Pool
from figment.training.lists import training_list
from figment.validation.duplicates import SIDE
from figment.validation.gates import GateConfig, class_table, real_table, training_table
from figment.validation.hashes import hash_set


@step(experiment_tracker=True)
def check_sets(
    labels: LabelSpace,
    images: FileRef,
    verdicts: FileRef,
    sets: dict[str, dict[str, int]],
    real: RealConfig,
    gates: GateConfig,
    output: str,
) -> Annotated[list[str], "checked"]:
    """The gates that were passed: classes within their shares, nothing blank or flagged, few duplicates, no test
    picture among them. Stops the pipeline otherwise."""
    path, folder, names = Path(real.path), Path(output), list(labels.names)
    test = open_labelled(path, "test", labels, SIDE, real.test_per_class)
    hashed = hash_set(test)
    table = real_table(hashed, test.listing, names, gates.near, None, test.listing)
    suite = quality.picture_suite(labels, gates.max_duplicates, leakage=0)
    gate("evaluation set", [Check(table, suite), *classes(table["label"], names, None, gates)], folder)

    passed = ["evaluation set"]

    pool, judged = Pool(images.open().parent), pq.read_table(verdicts.open())
    suite = quality.picture_suite(labels, gates.max_duplicates, gates.max_leakage)
    for name, shares in sets.items():
        table = training_table(training_list(judged, shares), pool, hashed, test.listing, gates.near)
        within = classes(table["label"], names, sum(shares.values()), gates)
        gate(f"training list {name}", [Check(table, suite), *within], folder)
        passed.append(f"training list {name}")
    if has_split(path, "train"):
        train = open_labelled(path, "train", labels, SIDE, real.train_per_class)
        table = real_table(hash_set(train), train.listing, names, gates.near, hashed, test.listing)
        suite = quality.picture_suite(labels, gates.max_duplicates, gates.max_real_leakage)
        gate("real training list", [Check(table, suite), *classes(table["label"], names, None, gates)], folder)
        passed.append("real training list")
    return passed


def classes(found: list[str], names: list[str], share: int | None, gates: GateConfig) -> list[Check]:
    return [Check(class_table(found, names, share), quality.class_suite(gates), "label")]
