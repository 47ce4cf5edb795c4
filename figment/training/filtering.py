"""Verdicts of DIAGen's calibrated filter, fitted on a few photos, in CLIP's place."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from figment.datasets.labelled import StreamedImages
from figment.labels import LabelSpace
from figment.planning.plan import read_plan
from figment.planning.sample_weights import confidence_weight
from figment.synthesis.pool import Pool
from figment.training.acceptance import FilterPolicy
from figment.training.backbone import load_backbone, view_features
from figment.training.few_shot import filter_views
from figment.training.filter_head import fit_filter
from figment.training.head import FeatureSet
from figment.training.lists import open_training_list
from figment.validation.validate import COLUMNS
from figment.validation.verdicts import make_verdicts


def validate_by_filter(
    plan: Path, pool: Pool, space: LabelSpace, policy: FilterPolicy, photos: StreamedImages
) -> tuple[pa.Table, dict[str, float]]:
    """Verdicts on the plan's images, sorted by id, each of which was asked to show one class of ``space``; and how well the
    filter is calibrated. ``photos`` have labels of ``space``, and are ``policy.backbone.image_size`` px."""
    backbone, batch, size = load_backbone(policy.backbone), policy.backbone.batch_size, policy.backbone.image_size

    def features(images: StreamedImages) -> FeatureSet:
        seen = view_features(images, backbone, batch, policy.augmentation, policy.views, policy.seed)
        return filter_views(FeatureSet(seen, images.labels))

    judge = fit_filter(features(photos), len(space), policy.head, policy.seed)
    planned = read_plan(plan)
    listed = pa.table({"image_id": planned["image_id"], "label": pc.list_element(planned["labels"], 0)})
    found = features(open_training_list(listed, pool, space, size, "of generated images", "squash"))
    probabilities = judge.probabilities(found.features)
    ids = listed["image_id"].to_pylist()
    rows = {row["image_id"]: row for batch in pool.read(ids, COLUMNS) for row in batch.to_pylist()}
    verdicts = make_verdicts([rows[i] for i in ids], probabilities.double().numpy(), space, policy)
    own = probabilities.gather(1, found.labels[:, None])[:, 0]
    numbers = {
        "temperature": judge.temperature,
        "calibration_error": judge.error_after,
        "calibration_error_before": judge.error_before,
        "mean_weight": float(confidence_weight(own).mean()),
        "agreement": float((probabilities.argmax(1) == found.labels).double().mean()),
    }
    return verdicts.sort_by("image_id"), numbers
