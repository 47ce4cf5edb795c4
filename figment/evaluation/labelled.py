"""Every classifier, and CLIP itself, on real images of one class each; and how varied the sets are that they learned from."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.config import RealConfig
from figment.datasets.labelled import Images, has_split, open_labelled, read_labelled
from figment.evaluation.errors import WorstError, explain_errors
from figment.evaluation.feature_map import feature_map
from figment.evaluation.features import clip_features
from figment.evaluation.results import Result, Results, tabulate
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.metrics.diversity import Labelled, compare_sets
from figment.synthesis.pool import Pool
from figment.training.classifier import predict_all
from figment.training.finetune import classify
from figment.training.kinds.clip_classifier import CLIP as KIND_OF_CLIP
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD
from figment.training.kinds.timm_classifier import TIMM
from figment.training.lists import TRAINING_LIST
from figment.training.saved import Measure, TrainedModel, load_model
from figment.validation.features import FeatureStore

SHOTS = 1000  # real images of a class that diversity is measured against, at most
TOGETHER = 256  # images scored at a time
MAPPED = 500  # images of either kind on the map
ERRORS = 12


class Bench(NamedTuple):
    """What classifiers are measured on and beside: real images, CLIP, and the pool that they learned from."""

    space: LabelSpace
    real: RealConfig
    clip: ClipConfig
    images: FileRef

    def measure(self, classifiers: Classifiers) -> tuple[Results, Image.Image]:
        """All numbers, and the map of real and synthetic features."""
        space, real, scorer = self.space, self.real, ClipScorer(self.clip)
        loaded = {item.name: load(item) for item in classifiers.items}
        size, resize, native_size = next(iter(loaded.values())).preparation
        path, few = Path(real.path), real.test_per_class
        test = read_labelled(path, real.test, space, size, few, resize, native_size)
        seen_by_clip = read_labelled(path, real.test, space, scorer.size, few, scorer.resize)  # at its own size
        clip_logits = scorer.logits(seen_by_clip.pixels, scorer.text_features(space)).cpu()
        logits = {
            name: logits_of(model, seen_by_clip if model.kind is KIND_OF_CLIP else test)
            for name, model in loaded.items()
        }
        images = {item.name: item.images for item in classifiers.items}
        results = tabulate(space, test.labels, clip_logits, logits, images, classifiers.deployed)
        sets = features_of_sets(space, FeatureStore(Pool(self.images.open().parent), scorer), classifiers)
        shots = self.shots(scorer)
        results = results.model_copy(update={"diversity": compare_sets(sets, shots, space.names)})
        return results, feature_map(sets[results.confusion_of], shots, space.names, most=MAPPED)

    def shots(self, scorer: ClipScorer) -> Labelled:
        """CLIP features and labels of real training images, or of test images if there are no others: nothing is chosen by
        them."""
        real, path = self.real, Path(self.real.path)
        split, few = ("train", real.train_per_class) if has_split(path, "train") else (real.test, real.test_per_class)
        shots = open_labelled(path, split, self.space, scorer.size, min(SHOTS, few or SHOTS))
        return Labelled(clip_features(shots, scorer), shots.labels)

    def explain(self, classifier: ClassifierRef) -> list[WorstError]:
        """The worst errors of a classifier, each with its nearest training images."""
        model, scorer, real = load(classifier), ClipScorer(self.clip), self.real
        path, few = Path(real.path), real.test_per_class
        size, resize, native_size = model.preparation
        test = open_labelled(path, real.test, self.space, size, few, resize, native_size)
        learned = pq.read_table(folder_of(classifier) / TRAINING_LIST)["image_id"].to_pylist()
        store = FeatureStore(Pool(self.images.open().parent), scorer)
        return explain_errors(logits_of(model, test), test, learned, store, self.space.names, ERRORS)


def folder_of(classifier: ClassifierRef) -> Path:
    return classifier.weights.open().parent


def load(classifier: ClassifierRef) -> TrainedModel:
    return load_model(folder_of(classifier), TIMM, KIND_OF_CLIP, FEW_SHOT_HEAD)


def logits_of(model: TrainedModel, images: Images) -> Tensor:
    """(N, C) of a set, whether or not memory holds it."""
    if model.kind is TIMM:
        return predict_all(model.network, images)
    if model.kind is KIND_OF_CLIP:
        return predict_all(model.network, images, log_probabilities)
    batch = model.settings.backbone.batch_size

    def scores(network: Any, pixels: Tensor) -> Tensor:
        return classify(network.backbone, network.head, pixels, batch)

    return predict_all(model.network, images, scores)


@torch.inference_mode()
def log_probabilities(network: nn.Module, pixels: Tensor) -> Tensor:
    """Log-probabilities (N, C) of images (N, 3, S, S) uint8."""
    parts = (part.float() / 255 for part in pixels.split(TOGETHER))
    return torch.cat([network(part).clamp(min=1e-12).log() for part in parts])


def features_of_sets(space: LabelSpace, store: FeatureStore, classifiers: Classifiers) -> dict[str, Labelled]:
    """CLIP features and labels of the generated images that each classifier learned from, if any."""
    store.complete()
    files = {item.name: folder_of(item) / TRAINING_LIST for item in classifiers.items}
    lists = {name: pq.read_table(file) for name, file in files.items() if file.is_file()}
    found = store.by_id(i for chosen in lists.values() for i in chosen["image_id"].to_pylist())
    return {
        name: Labelled(
            torch.stack([found[i] for i in chosen["image_id"].to_pylist()]),
            torch.tensor([space.names.index(label) for label in chosen["label"].to_pylist()]),
        )
        for name, chosen in lists.items()
    }


def numbers(row: Result, results: Results) -> dict[str, float]:
    """The metrics of a classifier."""
    values = {"top1": row.top1, "calibration_error": row.calibration_error, "gap_closed": row.gap_closed}
    if ledger := results.diversity.get(row.name):
        values |= {"vendi": ledger.vendi, "distance": ledger.distance, "frechet": ledger.frechet}
        values |= {"recall": ledger.reach.recall, "coverage": ledger.reach.coverage}
    return {name: value for name, value in values.items() if value is not None}


def measures(result: Result, results: Results) -> list[Measure]:
    """What a classifier's model.json notes of its row of the table."""
    found = [
        Measure(name="top-1", value=result.top1, low=result.low, high=result.high, images=results.test_images),
        Measure(name="calibration error", value=result.calibration_error or 0),
    ]
    shares = zip(results.labels, result.per_class, strict=False)
    return found + [Measure(name=f"top-1 of {label}", value=share) for label, share in shares]
