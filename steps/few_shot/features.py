"""Features of photos and made images by the frozen backbone, each image as it is and in random views, taken once."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa

from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import check_held_out, open_photos, read_splits
from figment.files import sha256_file
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.plan import read_plan
from figment.synthesis.pool import Pool
from figment.training.backbone import load_backbone, view_features
from figment.training.banks import save_features
from figment.training.config import FewShotTrainingConfig
from figment.training.head import FeatureSet
from figment.training.lists import open_training_list


@step(role="look", experiment_tracker=True)
def look_at_photos(
    labels: LabelSpace,
    photos: FileRef,
    data: FewShotDataConfig,
    shots: int,
    training: FewShotTrainingConfig,
    seed: int,
    output: str,
) -> Annotated[FileRef, "photo_features"]:
    """``shots``, ``held_out`` if it is used, and ``test/NAME``. All photos are read here, before anything is rendered."""
    path = Path(output) / "features" / "photos.safetensors"
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        photos=photos.sha256,
        data=[data.model_dump(mode="json"), caching.data_digest(Path(data.root), "all")],
        **of_backbone(training, seed),
    )
    if not caching.is_current(path, key):
        splits = read_splits(data, labels, shots, seed)
        if training.validate_on == "held_out":
            check_held_out(splits, data)
        backbone = load_backbone(training.backbone)
        wanted = {"shots": (splits.shots, training.views)}
        wanted |= {f"test/{name}": (listing, 0) for name, listing in splits.tests.items()}
        if training.validate_on == "held_out":
            wanted["held_out"] = (splits.held_out, 0)
        size, batch = training.backbone.image_size, training.backbone.batch_size
        found = {
            name: FeatureSet(
                view_features(open_photos(listing, size), backbone, batch, training.augmentation, views, seed),
                listing.labels,
            )
            for name, (listing, views) in wanted.items()
        }
        save_features(found, path)
        caching.mark_current(path, key)
        tracking.log_metrics("data", {f"photos/{name}": len(part) for name, part in found.items()})
    return FileRef.of(path)


@step(role="look")
def look_at_images(
    labels: LabelSpace, plan: FileRef, images: FileRef, training: FewShotTrainingConfig, seed: int, output: str
) -> Annotated[FileRef, "image_features"]:
    """``made``: all images of the plan, in its order."""
    path = Path(output) / "features" / "made.safetensors"
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        plan=plan.sha256,
        images=images.sha256,
        **of_backbone(training, seed),
    )
    if not caching.is_current(path, key):
        planned = read_plan(plan.open())
        listed = pa.table({"image_id": planned["image_id"], "label": pa.compute.list_element(planned["labels"], 0)})
        size, pool = training.backbone.image_size, Pool(images.open().parent)
        made = open_training_list(listed, pool, labels, size, "of made images", "squash")
        backbone, batch = load_backbone(training.backbone), training.backbone.batch_size
        features = view_features(made, backbone, batch, training.augmentation, training.views, seed)
        save_features({"made": FeatureSet(features, made.labels)}, path)
        caching.mark_current(path, key)
    return FileRef.of(path)


def of_backbone(training: FewShotTrainingConfig, seed: int) -> dict[str, object]:
    """What decides the features of given images."""
    file = Path(training.backbone.weights or "")
    return {
        "backbone": training.backbone.model_dump(mode="json"),
        "weights": [caching.model_digest(training.backbone.model.partition(":")[2])]
        + ([sha256_file(file)] if file.is_file() else []),
        "views": [training.augmentation.model_dump(mode="json"), training.views, training.validate_on],
        "seed": seed,
    }
