"""Measure every classifier, and CLIP itself, on the real test images, the one time they are used; and how varied the sets
are that they learned from."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.config import RealConfig
from figment.datasets.labelled import has_split, open_labelled, read_labelled
from figment.evaluation.feature_map import feature_map
from figment.evaluation.features import clip_features
from figment.evaluation.plots import write_plots
from figment.evaluation.results import REAL, Result, Results, tabulate
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.manifests import Classifiers, FileRef
from figment.metrics.diversity import compare_sets
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.training.classifier import predict
from figment.training.kinds.timm_classifier import TIMM
from figment.training.saved import Measure, add_metrics, load_model
from figment.validation.features import FeatureStore

SHOTS = 1000  # real images of a class that diversity is measured against, at most
MAPPED = 500  # images of either kind on the map


@step(role="look", experiment_tracker=True)
def evaluate_classifiers(
    labels: LabelSpace,
    images: FileRef,
    classifiers: Classifiers,
    clip: ClipConfig,
    real: RealConfig,
    image_size: int,
    output: str,
) -> tuple[Annotated[Results, "results"], Annotated[FileRef, "deployed"]]:
    """Top-1 with intervals, per class, calibration, gains over base class and the gap closed; the diversity ledger and the map
    of real and synthetic features; metrics.json for DVC, metrics for MLflow. And the weights to register: of the combined set (or
    the only trick), never the best on the test images."""
    file, image = Path(output) / "results.json", Path(output) / "feature_map.png"
    key = caching.result_key(
        __name__,
        classifiers=classifiers.model_dump(),
        images=images.sha256,
        clip=[clip.model_dump(), caching.model_digest(clip.model)],
        real=[real.model_dump(), *(caching.data_digest(Path(real.path), split) for split in ("train", "test"))],
    )
    if not (caching.is_current(file, key) and image.is_file()):
        results, features_drawn = measure(labels, Pool(images.open().parent), classifiers, clip, real, image_size)
        with atomic(image) as partial:
            features_drawn.save(partial, "PNG")
        write_json(file, results.model_dump(mode="json"))
        caching.mark_current(file, key)
    results = read_artifact(file, Results)
    found = {row.name: numbers(row, results) for row in results.rows}
    for item in classifiers.items:
        with tracking.classifier(item.name):
            tracking.log_metrics("evaluation", found[item.name])
    tracking.log_headline(
        {"accuracy": results[results.confusion_of].top1},
        [{"trained on": row.name, "images": row.images, **found[row.name]} for row in results.rows],
    )
    tracking.log_file(image)
    write_json(Path(output) / "metrics.json", {row.name: round(row.top1, 4) for row in results.rows})
    write_plots(results, classifiers[results.confusion_of].weights.open().parent, Path(output))
    for item in classifiers.items:
        add_metrics(item.weights.open().parent, measures(results[item.name], results))
    return results, classifiers[results.confusion_of].weights


def measures(result: Result, results: Results) -> list[Measure]:
    """What a classifier's model.json notes of its row of the table."""
    found = [
        Measure(name="top-1", value=result.top1, low=result.low, high=result.high, images=results.test_images),
        Measure(name="calibration error", value=result.calibration_error or 0),
    ]
    shares = zip(results.labels, result.per_class, strict=False)
    return found + [Measure(name=f"top-1 of {label}", value=share) for label, share in shares]


def measure(
    labels: LabelSpace, pool: Pool, classifiers: Classifiers, clip: ClipConfig, real: RealConfig, image_size: int
) -> tuple[Results, Image.Image]:
    """All numbers, and the map."""
    loaded = {item.name: load_model(item.weights.open().parent, TIMM) for item in classifiers.items}
    _, *resized = next(iter(loaded.values())).preparation
    test = read_labelled(Path(real.path), real.test, labels, image_size, real.test_per_class, *resized)
    scorer = ClipScorer(clip)
    seen_by_clip = read_labelled(
        Path(real.path), real.test, labels, scorer.size, real.test_per_class, scorer.resize
    )  # at its own size
    clip_logits = scorer.logits(seen_by_clip.pixels, scorer.text_features(labels)).cpu()
    logits = {name: predict(model.network, test.pixels) for name, model in loaded.items()}
    results = tabulate(labels, test.labels, clip_logits, logits, {item.name: item.images for item in classifiers.items})
    sets = features_of_sets(labels, FeatureStore(pool, scorer), classifiers)
    shots, shot_labels = features_of_shots(labels, scorer, real)
    results = results.model_copy(update={"diversity": compare_sets(sets, shots, shot_labels, labels.names)})
    return results, feature_map(*sets[results.confusion_of], shots, shot_labels, labels.names, most=MAPPED)


def numbers(row: Result, results: Results) -> dict[str, float]:
    """The metrics of a classifier."""
    values = {"top1": row.top1, "calibration_error": row.calibration_error, "gap_closed": row.gap_closed}
    if ledger := results.diversity.get(row.name):
        values |= {"vendi": ledger.vendi, "distance": ledger.distance, "frechet": ledger.frechet}
        values |= {"recall": ledger.reach.recall, "coverage": ledger.reach.coverage}
    return {name: value for name, value in values.items() if value is not None}


def features_of_sets(
    labels: LabelSpace, store: FeatureStore, classifiers: Classifiers
) -> dict[str, tuple[Tensor, Tensor]]:
    """CLIP features (N, D) and labels (N,) of what each classifier learned from, but for the real-trained."""
    store.complete()
    lists = {
        item.name: pq.read_table(item.weights.open().parent / "training_list.parquet")
        for item in classifiers.items
        if item.name != REAL
    }
    wanted = {i for chosen in lists.values() for i in chosen["image_id"].to_pylist()}
    found = {i: row for ids, part in store.read(wanted) for i, row in zip(ids, part, strict=True)}
    return {
        name: (
            torch.stack([found[i] for i in chosen["image_id"].to_pylist()]).float(),
            torch.tensor([labels.names.index(label) for label in chosen["label"].to_pylist()]),
        )
        for name, chosen in lists.items()
    }


def features_of_shots(labels: LabelSpace, scorer: ClipScorer, real: RealConfig) -> tuple[Tensor, Tensor]:
    """CLIP features and labels of real training images, or of test images if there are no others: nothing is chosen by
    them."""
    path = Path(real.path)
    split, few = ("train", real.train_per_class) if has_split(path, "train") else (real.test, real.test_per_class)
    shots = open_labelled(path, split, labels, scorer.size, min(SHOTS, few or SHOTS))
    return clip_features(shots, scorer), shots.labels
