"""Every few-shot head, and CLIP itself, on every set of test photos; and how varied the images made of the shots are."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.config import CROSS_VALIDATED
from figment.datasets.kinds import FewShotData
from figment.datasets.labelled import StreamedImages
from figment.devices import choose_device
from figment.evaluation.features import clip_features
from figment.evaluation.few_shot_results import FewShotResults, MethodResult, tabulate_few_shot
from figment.keys import data_digest, model_digest
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.metrics.diversity import Labelled, compare_sets
from figment.planning.planners import USES
from figment.synthesis.pool import Pool
from figment.training.backbone import view_features
from figment.training.banks import load_features, save_features
from figment.training.config import AugmentConfig
from figment.training.features import TEST
from figment.training.head import FeatureSet, logits_of
from figment.training.jobs import Cache
from figment.training.kinds.few_shot_head import FEW_SHOT_HEAD
from figment.training.saved import Measure, TrainedModel, load_model
from figment.training.trainers.few_shot_head import CROSS_LOGITS
from figment.validation.features import FeatureStore


class Bench(NamedTuple):
    """What heads are measured on and beside: the test photos, with their ``features`` by the backbone, and CLIP; ``output`` keeps
    features that are taken here."""

    space: LabelSpace
    data: FewShotData
    features: Mapping[str, FeatureSet]
    clip: ClipConfig
    output: Path
    cached: Cache

    def measure(
        self, heads: Classifiers, plan: FileRef | None, images: FileRef | None, photos: FileRef
    ) -> FewShotResults:
        """Macro accuracy with intervals and gains over the photos alone; the diversity ledger against the first test set's."""
        scorer = ClipScorer(self.clip)
        tests = {name: self.features[f"{TEST}{name}"] for name in self.data.test_names}
        by_clip, text = self._clip_features(scorer), scorer.text_features(self.space)
        folders = {item.name: item.weights.open().parent for item in heads.items}
        loaded = {name: load_model(folder, FEW_SHOT_HEAD) for name, folder in folders.items()}
        own = {
            name: self._features_of(model, heads[name]) if model.settings.finetuned else tests
            for name, model in loaded.items()
        }
        results = tabulate_few_shot(
            self.space,
            self.data.shots,
            {name: found.labels for name, found in tests.items()},
            {name: scorer.compare(by_clip[name].features[:, 0], text).cpu() for name in tests},
            {
                name: {CROSS_VALIDATED: load_file(folders[name] / CROSS_LOGITS)["logits"]}
                if self.data.cross_validated
                else {test: logits_of(model.network.head, found.features[:, 0]) for test, found in own[name].items()}
                for name, model in loaded.items()
            },
            {name: (model.settings.made, model.settings.effective_size) for name, model in loaded.items()},
        )
        if not images or not plan:
            return results
        store = FeatureStore(Pool(images.open().parent), scorer)
        uses = pq.read_table(plan.open().with_name(USES))
        sets = features_of_methods(self.space, store, uses, pq.read_table(photos.open()))
        first = by_clip[next(iter(tests))]
        ledgers = compare_sets(sets, Labelled(first.features[:, 0], first.labels), self.space.names)
        return results.model_copy(update={"diversity": ledgers})

    def _features_of(self, model: TrainedModel, head: ClassifierRef) -> Mapping[str, FeatureSet]:
        """The test photos' features by a backbone that has learned, by test set; kept beside it."""
        path, config = Path(head.weights.path).parent / "tests.safetensors", model.settings.backbone

        def make() -> None:
            backbone = model.network.backbone.to(choose_device(config.device))
            found = {}
            for name, images in self._tests(config.image_size).items():
                seen = view_features(images, backbone, config.batch_size, AugmentConfig(), 0, self.data.seed)
                found[name] = FeatureSet(seen, images.labels)
            save_features(found, path)

        return load_features(self.cached(path, __name__, {"backbone": head.weights.sha256, **self._photos()}, make))

    def _clip_features(self, scorer: ClipScorer) -> Mapping[str, FeatureSet]:
        """CLIP's features of the test photos, by test set."""
        path = self.output / "features" / "clip.safetensors"

        def make() -> None:
            found = {}
            for name, images in self._tests(1).items():
                seen = StreamedImages(images.listing, scorer.size, scorer.resize)
                found[name] = FeatureSet(clip_features(seen, scorer)[:, None], images.labels)
            save_features(found, path)

        inputs = {**self._photos(), "clip": [self.clip, model_digest(self.clip.model)]}
        return load_features(self.cached(path, __name__, inputs, make))

    def _tests(self, size: int) -> dict[str, StreamedImages]:
        sets = self.data.photo_sets(self.space, size)
        return {name: sets[f"{TEST}{name}"] for name in self.data.test_names}

    def _photos(self) -> dict[str, object]:
        return {"labels": self.space, "data": [self.data, *(data_digest(path, "all") for path in self.data.paths)]}


def features_of_methods(
    labels: LabelSpace, store: FeatureStore, used: pa.Table, photos: pa.Table
) -> dict[str, Labelled]:
    """CLIP features and labels of each method's images."""
    store.complete()
    rows = used.to_pylist()
    found = store.by_id(row["image_id"] for row in rows)
    label_of = [labels.names.index(name) for name in photos["label"].to_pylist()]
    sets = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        features = torch.stack([found[row["image_id"]] for row in own])
        sets[name] = Labelled(features, torch.tensor([label_of[row["photo"]] for row in own]))
    return sets


def measures(row: MethodResult, results: FewShotResults) -> list[Measure]:
    """What a head's model.json notes of its row of the table."""
    return [
        Measure(
            name=f"macro accuracy on {test}",
            value=found.value,
            low=found.low,
            high=found.high,
            images=results.images[test],
        )
        for test, found in row.tests.items()
    ]


def numbers(row: MethodResult, results: FewShotResults) -> dict[str, float]:
    """The metrics of a method."""
    values = {f"accuracy/{test}": found.value for test, found in row.tests.items()}
    if ledger := results.diversity.get(row.name):
        values |= {"vendi": ledger.vendi, "recall": ledger.reach.recall}
    return values
