"""Measure every head, and CLIP itself, on the test photos, the one time they are used; and how varied the made images are."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.config import CROSS_VALIDATED, FewShotDataConfig
from figment.datasets.few_shot import open_photos, read_splits
from figment.datasets.labelled import StreamedImages
from figment.devices import choose_device
from figment.evaluation.features import clip_features
from figment.evaluation.few_shot_results import FewShotResults, tabulate_few_shot
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import Classifiers, FileRef
from figment.metrics.diversity import compare_sets
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.synthesis.pool import Pool
from figment.training.backbone import view_features
from figment.training.banks import load_features, save_features
from figment.training.config import AugmentConfig
from figment.training.head import FeatureSet, logits_of
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD
from figment.training.saved import Measure, TrainedModel, add_metrics, load_model
from figment.validation.features import FeatureStore
from steps.few_shot.training import CROSS_LOGITS


@step(role="look", experiment_tracker=True)
def evaluate_heads(
    labels: LabelSpace,
    data: FewShotDataConfig,
    shots: int,
    photos: FileRef,
    photo_features: FileRef,
    heads: Classifiers,
    clip: ClipConfig,
    seed: int,
    output: str,
    images: FileRef | None = None,
    uses: FileRef | None = None,
) -> tuple[Annotated[FewShotResults, "results"], Annotated[FileRef, "deployed"]]:
    """Macro accuracy with intervals and gains over the photos alone; the diversity ledger against the first test set's photos;
    few_shot.json, metrics.json for DVC, metrics for MLflow. And the weights to register: of the deployed method, chosen before
    anything was measured."""
    seen = load_features(photo_features.open())
    tests = {name: seen[f"test/{name}"] for name in data.test_names}
    scorer = ClipScorer(clip)
    seen_by_clip = clip_photos(labels, data, shots, seed, scorer, output)
    text = scorer.text_features(labels)
    folders = {item.name: item.weights.open().parent for item in heads.items}
    loaded = {name: load_model(folder, FEW_SHOT_HEAD) for name, folder in folders.items()}
    own_features = {
        name: finetuned_features(labels, data, shots, seed, model, heads[name].weights, photo_features)
        if model.settings.finetuned
        else tests
        for name, model in loaded.items()
    }
    results = tabulate_few_shot(
        labels,
        shots,
        {name: found.labels for name, found in tests.items()},
        {name: scorer.compare(seen_by_clip[name].features[:, 0], text).cpu() for name in tests},
        {
            name: {CROSS_VALIDATED: load_file(folders[name] / CROSS_LOGITS)["logits"]}
            if data.cross_validated
            else {test: logits_of(model.network.head, own.features[:, 0]) for test, own in own_features[name].items()}
            for name, model in loaded.items()
        },
        {name: (model.settings.made, model.settings.effective_size) for name, model in loaded.items()},
    )
    if images and uses:
        store = FeatureStore(Pool(images.open().parent), scorer)
        sets = features_of_methods(labels, store, pq.read_table(uses.open()), pq.read_table(photos.open()))
        first = seen_by_clip[next(iter(tests))]
        ledgers = compare_sets(sets, first.features[:, 0], first.labels, labels.names)
        results = results.model_copy(update={"diversity": ledgers})
    log_results(results, heads)
    metrics = {f"{row.name}/{test}": found.value for row in results.rows for test, found in row.tests.items()}
    write_json(Path(output) / "few_shot.json", results.model_dump(mode="json"))
    write_json(Path(output) / "metrics.json", {name: round(value, 4) for name, value in metrics.items()})
    for name, folder in folders.items():
        found = [
            Measure(
                name=f"macro accuracy on {test}",
                value=each.value,
                low=each.low,
                high=each.high,
                images=results.images[test],
            )
            for test, each in results[name].tests.items()
        ]
        add_metrics(folder, found)
    return results, heads[results.deployed].weights


def log_results(results: FewShotResults, heads: Classifiers) -> None:
    """A child run a method, and the table."""
    rows = {row.name: {f"accuracy/{test}": found.value for test, found in row.tests.items()} for row in results.rows}
    for name, ledger in results.diversity.items():
        rows[name] |= {"vendi": ledger.vendi, "recall": ledger.reach.recall}
    for item in heads.items:
        with tracking.classifier(item.name):
            tracking.log_metrics("evaluation", rows[item.name])
    first = next(iter(rows[results.deployed].values()))
    tracking.log_headline({"accuracy": first}, [{"method": name, **found} for name, found in rows.items()])


def finetuned_features(
    labels: LabelSpace,
    data: FewShotDataConfig,
    shots: int,
    seed: int,
    model: TrainedModel,
    weights: FileRef,
    photo_features: FileRef,
) -> dict[str, FeatureSet]:
    """The test photos' features by a backbone that has learned, by test set; kept beside it."""
    path = Path(weights.path).parent / "tests.safetensors"
    key = caching.result_key(__name__, backbone=weights.sha256, photos=photo_features.sha256)
    if not caching.is_current(path, key):
        config = model.settings.backbone
        backbone = model.network.backbone.to(choose_device(config.device))
        size, batch = config.image_size, config.batch_size
        found = {
            name: FeatureSet(
                view_features(open_photos(listing, size), backbone, batch, AugmentConfig(), 0, seed), listing.labels
            )
            for name, listing in read_splits(data, labels, shots, seed).tests.items()
        }
        save_features(found, path)
        caching.mark_current(path, key)
    return load_features(path)


def clip_photos(
    labels: LabelSpace, data: FewShotDataConfig, shots: int, seed: int, scorer: ClipScorer, output: str
) -> dict[str, FeatureSet]:
    """CLIP's features of the test photos, by test set."""
    path = Path(output) / "features" / "clip.safetensors"
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        data=[data.model_dump(mode="json"), caching.data_digest(Path(data.root), "all")],
        clip=[scorer.config.model_dump(mode="json"), caching.model_digest(scorer.config.model)],
    )
    if not caching.is_current(path, key):
        tests = read_splits(data, labels, shots, seed).tests
        found = {
            name: FeatureSet(
                clip_features(StreamedImages(listing, scorer.size, scorer.resize), scorer)[:, None], listing.labels
            )
            for name, listing in tests.items()
        }
        save_features(found, path)
        caching.mark_current(path, key)
    return load_features(path)


def features_of_methods(
    labels: LabelSpace, store: FeatureStore, used: pa.Table, photos: pa.Table
) -> dict[str, tuple[Tensor, Tensor]]:
    """CLIP features (S, D) and labels (S,) of each method's images."""
    store.complete()
    rows = used.to_pylist()
    found = {
        i: row for ids, part in store.read({row["image_id"] for row in rows}) for i, row in zip(ids, part, strict=True)
    }
    label_of = [labels.names.index(name) for name in photos["label"].to_pylist()]
    sets = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        features = torch.stack([found[row["image_id"]] for row in own]).float()
        sets[name] = features, torch.tensor([label_of[row["photo"]] for row in own])
    return sets
