"""CLIP checks every picture; the verdicts pass their own gate."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.errors import InputError
from figment.files import atomic
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, quality, tracking
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import read_plan
from figment.planning.quotas import QuotaConfig, within_quota
from figment.synthesis.pool import Pool
from figment.text import shown
from figment.validation.review import apply_review, read_review
from figment.validation.validate import validate
from figment.validation.verdicts import AcceptanceConfig, reasons, yields


@step(experiment_tracker=True)
def validate_images(
    labels: LabelSpace,
    plan: FileRef,
    images: FileRef,
    clip: ClipConfig,
    acceptance: AcceptanceConfig,
    quota: QuotaConfig | None,
    review: str | None,
    output: str,
) -> Annotated[FileRef, "verdicts"]:
    """One verdict an image: accepted, or the reason why not; of reviewed pictures the person's."""
    path = Path(output) / "verdicts.parquet"
    decided = read_review(Path(review)) if review else {}
    planned = read_plan(plan.open())
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(),
        plan=plan.sha256,
        images=images.sha256,
        clip=[clip.model_dump(), caching.model_digest(clip.model)],
        acceptance=acceptance.model_dump(),
        quota=quota and quota.model_dump(),
        review=decided,
    )
    if not caching.is_current(path, key):
        verdicts = validate(planned, Pool(images.open().parent), labels, ClipScorer(clip), acceptance)
        verdicts = apply_review(verdicts, decided)
        verdicts = within_quota(verdicts, quota) if quota else verdicts
        with atomic(path) as partial:
            pq.write_table(verdicts, partial)
        caching.mark_current(path, key)
    verdicts = pq.read_table(path)
    if unknown := set(verdicts["image_id"].to_pylist()) - set(planned["image_id"].to_pylist()):
        raise InputError(
            f"{path}: image_id {shown(min(unknown, key=str))} is not in the plan; remove the file and run again"
        )
    gate("verdicts", [Check(verdicts.to_pandas(), quality.verdict_suite(labels, len(planned)))], Path(output))
    if decided:
        known = len(decided.keys() & set(planned["image_id"].to_pylist()))
        tracking.log_metrics("validation", {"reviewed": known, "reviewed_but_not_planned": len(decided) - known})
    tracking.log_metrics("validation", {f"reason/{name}": count for name, count in reasons(verdicts).items()})
    tracking.log_metrics("validation", {f"yield/{name}": share for name, share in yields(verdicts, "trick").items()})
    return FileRef.of(path)
