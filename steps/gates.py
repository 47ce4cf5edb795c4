"""The gates before training: what will be learned from, and what will measure it. Real images pass theirs before anything is
rendered."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from figment.datasets.config import FewShotDataConfig, RealConfig
from figment.datasets.few_shot import open_photos, read_splits
from figment.datasets.labelled import StreamedImages, has_split, open_labelled
from figment.datasets.real import open_shots, open_unlabelled
from figment.datasets.tagged import read_tagged
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import read_plan
from figment.synthesis.pool import Pool
from figment.training.lists import multilabel_list, training_list
from figment.validation.config import GateConfig
from figment.validation.duplicates import SIDE
from figment.validation.gates import class_table, real_table, training_table
from figment.validation.hashes import HashedSet, hash_set, hash_tagged, joined

# What to do where a column of a real, or of a generated, image failed.
OF_REAL = {
    "contrast": "take blank images out, or allow a share of them by gates.max_blank",
    "duplicate_of": "take repeated images out, or allow more by gates.max_duplicates",
    "test_twin": "take such images out of what is trained on, or allow more by gates.max_real_leakage",
}
OF_HELPING = {
    "test_twin": "take such images out: real.unlabelled and real.shots may not show the test; or allow some by gates.max_leakage"
}
OF_MADE = {
    "contrast": "raise acceptance.min_contrast",
    "duplicate_of": "vary what is made, or allow more by gates.max_duplicates",
    "test_twin": "look whether the generator has learned from the test images, or allow more by gates.max_leakage",
}


@step(experiment_tracker=True)
def check_real_sets(
    labels: LabelSpace, real: RealConfig, gates: GateConfig, output: str
) -> Annotated[list[str], "checked"]:
    """The gates that real images passed: few blank or there twice, few of those that give the upper bound among the test ones,
    every class in both, none that generated images are helped by among the test ones. Stops the pipeline otherwise, before
    anything is rendered."""
    path, folder = Path(real.path), Path(output)
    test = hash_set(open_labelled(path, real.test, labels, SIDE, real.test_per_class))
    checked = [check_real("evaluation set", test, None, labels, gates, folder, every_class=True)]
    if has_split(path, "train"):
        train = hash_set(open_labelled(path, "train", labels, SIDE, real.train_per_class))
        checked.append(check_real("real training list", train, test, labels, gates, folder, every_class=True))
    if real.unlabelled:
        checked.append(
            check_disjoint(
                "unlabelled images", open_unlabelled(real.unlabelled, labels, SIDE), test, labels, gates, folder
            )
        )
    if real.shots:
        checked.append(check_disjoint("real shots", open_shots(real, labels, SIDE), test, labels, gates, folder))
    return checked


@step(experiment_tracker=True)
def check_sets(
    labels: LabelSpace,
    images: FileRef,
    verdicts: FileRef,
    sets: dict[str, dict[str, int]],
    real: RealConfig,
    gates: GateConfig,
    output: str,
    checked: list[str],
) -> Annotated[list[str], "checked"]:
    """Those ``checked`` before, and the gates that generated sets passed: classes within their shares, nothing blank or
    flagged, few duplicates, no test image among them. Stops the pipeline otherwise."""
    folder, names = Path(output), list(labels.names)
    test = hash_set(open_labelled(Path(real.path), real.test, labels, SIDE, real.test_per_class))
    pool, judged = Pool(images.open().parent), pq.read_table(verdicts.open())
    suite = quality.image_suite(labels, gates.max_duplicates, gates.max_leakage)
    for name, shares in sets.items():
        table = training_table(training_list(judged, shares), pool, test, gates.near)
        within = classes(table["label"], names, sum(shares.values()), gates)
        gate(f"training list {name}", [Check(table, suite), *within], folder, OF_MADE)
    return [*checked, *(f"training list {name}" for name in sets)]


@step(experiment_tracker=True)
def check_splits(
    labels: LabelSpace, splits: FileRef, gates: GateConfig, output: str
) -> Annotated[list[str], "checked"]:
    """``check_real_sets`` for images with tags."""
    root, folder = splits.open().parent, Path(output)
    hashed = {name: hash_tagged(read_tagged(root / name), name) for name in ("zsl", "gzsl", "train")}
    test = joined([hashed["zsl"], hashed["gzsl"]])
    checked = [check_real(f"{name} images", hashed[name], None, labels, gates, folder) for name in ("zsl", "gzsl")]
    return [*checked, check_real("training images", hashed["train"], test, labels, gates, folder)]


@step(experiment_tracker=True)
def check_tagged(
    labels: LabelSpace, splits: FileRef, images: FileRef, verdicts: FileRef, gates: GateConfig, output: str
) -> Annotated[list[str], "checked"]:
    """``check_sets`` for the images made for unseen classes, of which every class must have some."""
    root, chosen = splits.open().parent, multilabel_list(pq.read_table(verdicts.open()))
    test = joined([hash_tagged(read_tagged(root / name), name) for name in ("zsl", "gzsl")])
    table = training_table(chosen, Pool(images.open().parent), test, gates.near)
    suite = quality.image_suite(labels, gates.max_duplicates, gates.max_leakage)
    shown = [name for names in chosen["labels"].to_pylist() for name in names]
    unseen = [labels.names[i] for i in labels.unseen_ids]
    within = classes(shown, unseen, None, gates)
    gate("training list made", [Check(table, suite), *within], Path(output), OF_MADE)
    return ["training list made"]


@step(experiment_tracker=True)
def check_photos(
    labels: LabelSpace, data: FewShotDataConfig, shots: int, seed: int, gates: GateConfig, output: str
) -> Annotated[list[str], "checked"]:
    """The same for a few photos, before anything is made of them: no test set repeats itself, no shot is a test photo."""
    splits, folder = read_splits(data, labels, shots, seed), Path(output)
    taken = hash_set(open_photos(splits.shots, SIDE))
    if data.cross_validated:
        return [check_real("shots", taken, None, labels, gates, folder, every_class=True)]
    tests = {name: hash_set(open_photos(listing, SIDE)) for name, listing in splits.tests.items()}
    checked = [check_real(f"test photos {name}", found, None, labels, gates, folder) for name, found in tests.items()]
    test = joined(list(tests.values()))
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
    """Nothing made of a photo is a test photo, unless the shots measure. What is made of one photo may well be alike."""
    if data.cross_validated:
        return []
    splits, planned = read_splits(data, labels, shots, seed), read_plan(plan.open())
    test = joined([hash_set(open_photos(listing, SIDE)) for listing in splits.tests.values()])
    chosen = pa.table({"image_id": planned["image_id"], "label": pc.list_element(planned["labels"], 0)})
    table = training_table(chosen, Pool(images.open().parent), test, gates.near)
    gate("made images", [Check(table, quality.image_suite(labels, 1, gates.max_leakage))], Path(output), OF_MADE)
    return ["made images"]


def check_real(
    name: str,
    images: HashedSet,
    test: HashedSet | None,
    labels: LabelSpace,
    gates: GateConfig,
    folder: Path,
    every_class: bool = False,
) -> str:
    """Of real images: few are blank or there twice, and few of those to train on are among the ``test`` ones. Returns the
    name."""
    names = list(labels.names)
    table = real_table(images, names, gates.near, test)
    suite = quality.image_suite(labels, gates.max_duplicates, gates.max_real_leakage, gates.max_blank)
    within = classes(table["label"], names, None, gates) if every_class else []
    gate(name, [Check(table, suite), *within], folder, OF_REAL)
    return name


def check_disjoint(
    name: str, images: StreamedImages, test: HashedSet, labels: LabelSpace, gates: GateConfig, folder: Path
) -> str:
    """Of real images that are trained on, with labels or without: none is a test image, or as few as generated ones may be.
    Returns the name."""
    hashed = hash_set(images)
    hashed = replace(hashed, labels=hashed.labels.clip(min=0))  # that of an unlabelled image is not looked at
    table = real_table(hashed, list(labels.names), gates.near, test)
    gate(name, [Check(table, quality.image_suite(labels, 1, gates.max_leakage, 1))], folder, OF_HELPING)
    return name


def classes(found: Sequence[str], names: list[str], share: int | None, gates: GateConfig) -> list[Check]:
    return [Check(class_table(found, names, share), quality.class_suite(gates), "label")]
