"""Verdicts on a plan's images, whatever the kind of acceptance: CLIP's or the filter's, then a person's, then the quota."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.kinds import Data
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.planning.quotas import QuotaConfig, within_quota
from figment.synthesis.pool import Pool
from figment.training.acceptance import Acceptance, FilterPolicy
from figment.training.filtering import features_for, validate_by_filter
from figment.training.jobs import Cache
from figment.validation.policies import CalibratedPolicy
from figment.validation.review import apply_review
from figment.validation.validate import settle_on_pool, validate


class Judged(NamedTuple):
    """``settled``: the policy with the thresholds found, if it needed some; ``calibration`` of the filter, if it judged."""

    verdicts: pa.Table
    settled: CalibratedPolicy | None = None
    calibration: dict[str, float] | None = None


class Judge(NamedTuple):
    """What decides whether an image of classes of ``space`` passes. ``data`` and ``photos``: what a filter is fitted on;
    ``review``: whether a person keeps an image, by id."""

    space: LabelSpace
    clip: ClipConfig
    acceptance: Acceptance
    data: Data
    photos: FileRef | None
    review: Mapping[str, bool]
    quota: QuotaConfig | None

    def verdicts(self, plan: FileRef, images: FileRef, output: Path, cached: Cache) -> Judged:
        """One on each image of the plan, sorted by id."""
        pool, policy = Pool(images.open().parent), self.acceptance
        if isinstance(policy, FilterPolicy):
            assert self.photos is not None  # the pipeline sees to it
            features = features_for(policy, self.space, self.data, (self.photos, plan, images), output, cached)
            table, calibration = validate_by_filter(plan, pool, self.space, policy, *features)
            found = Judged(table, calibration=calibration)
        else:
            scorer, file = ClipScorer(self.clip), plan.open()
            settled = settle_on_pool(file, pool, self.space, scorer, policy)
            table = validate(file, pool, self.space, scorer, settled)
            found = Judged(table, settled if isinstance(settled, CalibratedPolicy) else None)
        reviewed = apply_review(found.verdicts, self.review)
        return found._replace(verdicts=within_quota(reviewed, self.quota) if self.quota else reviewed)
