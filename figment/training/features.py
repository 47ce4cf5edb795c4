"""Features of photos and generated images by a frozen backbone: each image as it is and in random views, taken once."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from figment.datasets.kinds import Data, FewShotData
from figment.datasets.labelled import StreamedImages
from figment.datasets.photos import open_kept
from figment.files import digest
from figment.keys import data_digest, file_digest, jsonable, model_digest
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.planning.plan import read_plan
from figment.synthesis.pool import Pool
from figment.training.backbone import Backbone, load_backbone, view_features
from figment.training.banks import load_features, save_features
from figment.training.config import AugmentConfig, BackboneConfig
from figment.training.head import FeatureSet
from figment.training.jobs import Cache
from figment.training.lists import open_training_list

SHOTS, HELD_OUT, TEST = "shots", "held_out", "test/"  # names of sets of photos; that of a test set begins so


class Views(NamedTuple):
    """A frozen backbone, and the random views in which it is shown an image."""

    backbone: BackboneConfig
    augmentation: AugmentConfig
    views: int
    seed: int

    def inputs(self) -> dict[str, object]:
        """What decides the features of given images."""
        weights = [model_digest(self.backbone.model.partition(":")[2]), file_digest(self.backbone.weights)]
        return {**self._asdict(), "weights": weights}

    def file(self, output: Path, what: str) -> Path:
        return output / "features" / f"{what}-{digest(jsonable(self._asdict()))[:8]}.safetensors"

    def take(self, images: StreamedImages, backbone: Backbone, views: int | None = None) -> FeatureSet:
        count = self.views if views is None else views
        size = self.backbone.batch_size
        return FeatureSet(view_features(images, backbone, size, self.augmentation, count, self.seed), images.labels)


def photo_features(
    space: LabelSpace, data: Data, photos: FileRef, output: Path, views: Views, cached: Cache
) -> Mapping[str, FeatureSet]:
    """``shots`` with their views; of a few-shot recipe's data also ``held_out``, if it validates, and ``test/NAME``, without."""
    inputs: dict[str, object] = {"labels": space, "photos": photos.sha256, **views.inputs()}
    if isinstance(data, FewShotData):
        inputs["data"] = [data, *(data_digest(path, "all") for path in data.paths)]
    path = views.file(output, "photos")

    def make() -> None:
        size, backbone = views.backbone.image_size, load_backbone(views.backbone)
        if isinstance(data, FewShotData):
            sets = data.photo_sets(space, size)
        else:
            sets = {SHOTS: open_kept(pq.read_table(photos.open()), space, size, output / "sources")}
        found = {name: views.take(images, backbone, None if name == SHOTS else 0) for name, images in sets.items()}
        save_features(found, path)

    return load_features(cached(path, __name__, inputs, make))


def image_features(
    space: LabelSpace, plan: FileRef, images: FileRef, output: Path, views: Views, cached: Cache
) -> FeatureSet:
    """All images of the plan, in its order."""
    inputs = {"labels": space, "plan": plan.sha256, "images": images.sha256, **views.inputs()}
    path = views.file(output, "images")

    def make() -> None:
        listed = first_labels(plan)
        opened = open_training_list(
            listed, Pool(images.open().parent), space, views.backbone.image_size, "of generated images", "squash"
        )
        save_features({"images": views.take(opened, load_backbone(views.backbone))}, path)

    return load_features(cached(path, __name__, inputs, make))["images"]


def first_labels(plan: FileRef) -> pa.Table:
    """``image_id, label`` of a plan's images, in its order."""
    planned = read_plan(plan.open())
    return pa.table({"image_id": planned["image_id"], "label": pc.list_element(planned["labels"], 0)})
