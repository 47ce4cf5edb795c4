"""Verdicts of DIAGen's calibrated filter, fitted on a few photos, in CLIP's place."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from figment.datasets.kinds import Data
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.planning.sample_weights import confidence_weight
from figment.synthesis.pool import Pool
from figment.training.acceptance import FilterPolicy
from figment.training.features import HELD_OUT, SHOTS, Views, first_labels, image_features, photo_features
from figment.training.few_shot import filter_views
from figment.training.filter_head import fit_filter
from figment.training.head import FeatureSet, HeadTraining
from figment.training.jobs import Cache
from figment.validation.validate import COLUMNS
from figment.validation.verdicts import make_verdicts


def features_for(
    policy: FilterPolicy,
    space: LabelSpace,
    data: Data,
    files: tuple[FileRef, FileRef, FileRef],
    output: Path,
    cached: Cache,
) -> tuple[Mapping[str, FeatureSet], FeatureSet]:
    """What the filter learns from and judges, of the ``files`` of photos, plan and images."""
    photos, plan, images = files
    known = (output, Views(policy.backbone, policy.augmentation, policy.views, policy.seed), cached)
    return photo_features(space, data, photos, *known), image_features(space, plan, images, *known)


def validate_by_filter(
    plan: FileRef,
    pool: Pool,
    space: LabelSpace,
    policy: FilterPolicy,
    photos: Mapping[str, FeatureSet],
    made: FeatureSet,
) -> tuple[pa.Table, dict[str, float]]:
    """Verdicts on the plan's images, sorted by id, each of which was asked to show one class of ``space``; and how well the
    filter is calibrated: on photos that are held out, if there are any, else on its own by cross-fitting."""
    held_out = photos.get(HELD_OUT)
    judge = fit_filter(filter_views(photos[SHOTS]), HeadTraining(len(space), policy.head, policy.seed, held_out))
    probabilities = judge.probabilities(filter_views(made).features)
    ids = first_labels(plan)["image_id"].to_pylist()
    rows = {row["image_id"]: row for batch in pool.read(ids, COLUMNS) for row in batch.to_pylist()}
    verdicts = make_verdicts([rows[i] for i in ids], probabilities.double().numpy(), space, policy)
    own = probabilities.gather(1, made.labels[:, None])[:, 0]
    numbers = {
        "temperature": judge.temperature,
        "calibration_error": judge.error_after,
        "calibration_error_before": judge.error_before,
        "mean_weight": float(confidence_weight(own).mean()),
        "agreement": float((probabilities.argmax(1) == made.labels).double().mean()),
    }
    return verdicts.sort_by("image_id"), numbers
