"""The gates before training: what will be learnt from, and what will measure it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from figment.datasets.config import RealConfig
from figment.datasets.few_shot import FewShotDataConfig, open_photos, read_splits
from figment.datasets.labelled import has_split, open_labelled
from figment.datasets.tagged import read_tagged
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import read_plan
from figment.synthesis.pool import Pool
from figment.training.lists import multilabel_list, training_list
from figment.validation.duplicates import SIDE
from figment.validation.gates import GateConfig, class_table, real_table, training_table
from figment.validation.hashes import HashedSet, hash_set, hash_tagged, joined


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
    test = hash_set(open_labelled(path, "test", labels, SIDE, real.test_per_class))
    checked = [check_real("evaluation set", test, None, labels, gates, folder, every_class=True)]
    pool, judged = Pool(images.open().parent), pq.read_table(verdicts.open())
    suite = quality.picture_suite(labels, gates.max_duplicates, gates.max_leakage)
    for name, shares in sets.items():
        table = training_table(training_list(judged, shares), pool, test, gates.near)
        within = classes(table["label"], names, sum(shares.values()), gates)
        gate(f"training list {name}", [Check(table, suite), *within], folder)
        checked.append(f"training list {name}")
    if has_split(path, "train"):
        train = hash_set(open_labelled(path, "train", labels, SIDE, real.train_per_class))
        checked.append(check_real("real training list", train, test, labels, gates, folder, every_class=True))
    return checked


@step(experiment_tracker=True)
def check_tagged(
    labels: LabelSpace,
    splits: FileRef,
    gates: GateConfig,
    output: str,
    images: FileRef | None = None,
    verdicts: FileRef | None = None,
) -> Annotated[list[str], "checked"]:
    """The same for pictures with tags: test pictures, training pictures and, if there are any, those made for unseen classes,
    of which every class must have some."""
    root, folder = splits.open().parent, Path(output)
    hashed = {name: hash_tagged(read_tagged(root / name), name) for name in ("zsl", "gzsl", "train")}
    test = joined([hashed["zsl"], hashed["gzsl"]])
    checked = [check_real(f"{name} pictures", hashed[name], None, labels, gates, folder) for name in ("zsl", "gzsl")]
    checked.append(check_real("training pictures", hashed["train"], test, labels, gates, folder))
    if images and verdicts:
        chosen = multilabel_list(pq.read_table(verdicts.open()))
        table = training_table(chosen, Pool(images.open().parent), test, gates.near)
        suite = quality.picture_suite(labels, gates.max_duplicates, gates.max_leakage)
        shown = [name for names in chosen["labels"].to_pylist() for name in names]
        unseen = [labels.names[i] for i in labels.unseen_ids]
        gate("training list made", [Check(table, suite), *classes(shown, unseen, None, gates)], folder)
        checked.append("training list made")
    return checked


@step(experiment_tracker=True)
def check_photos(
    labels: LabelSpace, data: FewShotDataConfig, shots: int, seed: int, gates: GateConfig, output: str
) -> Annotated[list[str], "checked"]:
    """The same for a few photos, before anything is made of them: no test set repeats itself, no shot is a test photo."""
    splits, folder = read_splits(data, labels, shots, seed), Path(output)
    tests = {name: hash_set(open_photos(listing, SIDE)) for name, listing in splits.tests.items()}
    checked = [check_real(f"test photos {name}", found, None, labels, gates, folder) for name, found in tests.items()]
    taken, test = hash_set(open_photos(splits.shots, SIDE)), joined(list(tests.values()))
    return [*checked, check_real("shots", taken, test, labels, gates, folder, every_class=True)]


@step(experiment_tracker=True)
def check_made(
    labels: LabelSpace,
    data: FewShotDataConfig,
    shots: int,
    seed: int,
    plan: FileRef,
    images: FileRef,
    gates: GateConfig,
    output: str,
) -> Annotated[list[str], "checked"]:
    """Nothing made of a photo is a test photo. What is made of one photo may well be alike."""
    splits, planned = read_splits(data, labels, shots, seed), read_plan(plan.open())
    test = joined([hash_set(open_photos(listing, SIDE)) for listing in splits.tests.values()])
    chosen = pa.table({"image_id": planned["image_id"], "label": pc.list_element(planned["labels"], 0)})
    table = training_table(chosen, Pool(images.open().parent), test, gates.near)
    gate("made pictures", [Check(table, quality.picture_suite(labels, 1, gates.max_leakage))], Path(output))
    return ["made pictures"]


def check_real(
    name: str,
    pictures: HashedSet,
    test: HashedSet | None,
    labels: LabelSpace,
    gates: GateConfig,
    folder: Path,
    every_class: bool = False,
) -> str:
    """Of real pictures: few are there twice, and few of those to train on are among the ``test`` ones. Returns the name."""
    names = list(labels.names)
    table = real_table(pictures, names, gates.near, test)
    suite = quality.picture_suite(labels, gates.max_duplicates, gates.max_real_leakage)
    gate(name, [Check(table, suite), *(classes(table["label"], names, None, gates) if every_class else [])], folder)
    return name


def classes(found: Sequence[str], names: list[str], share: int | None, gates: GateConfig) -> list[Check]:
    return [Check(class_table(found, names, share), quality.class_suite(gates), "label")]
