"""CLIP checks every image against what it was asked to show; the verdicts pass their own gate."""

import sys
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.photos import open_kept
from figment.errors import InputError
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, quality, tracking
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import read_plan
from figment.planning.quotas import QuotaConfig, within_quota
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.text import shown
from figment.training.acceptance import Acceptance, FilterPolicy
from figment.training.filtering import validate_by_filter
from figment.validation.policies import CalibratedPolicy
from figment.validation.review import apply_review, read_review
from figment.validation.validate import missed_targets, settle_on_pool, validate
from figment.validation.verdicts import reasons, yields


@step(role="look", experiment_tracker=True)
def validate_images(
    labels: LabelSpace,
    plan: FileRef,
    images: FileRef,
    clip: ClipConfig,
    acceptance: Acceptance,
    quota: QuotaConfig | None = None,
    review: str | None = None,
    photos: FileRef | None = None,
) -> Annotated[FileRef, "verdicts"]:
    """verdicts.parquet beside the plan: accepted with the labels to train on, or the reason why not; of reviewed images the
    person's. With a calibrated policy also thresholds.json, what it accepts each class at; with a filter, which is fitted on
    ``photos``, filter.json, how well that is calibrated."""
    file = plan.open()
    path, levels = file.with_name("verdicts.parquet"), file.with_name("thresholds.json")
    decided = read_review(Path(review)) if review else {}
    key = caching.result_key(
        __name__,
        labels=labels,
        plan=plan.sha256,
        images=images.sha256,
        clip=[clip, caching.model_digest(clip.model)],
        acceptance=acceptance,
        quota=quota,
        review=decided,
        photos=photos and photos.sha256,
    )
    written = [levels, path] if isinstance(acceptance, CalibratedPolicy) else [path]
    if not all(caching.is_current(output, key) for output in written):
        pool = Pool(images.open().parent)
        levels.unlink(missing_ok=True)
        if isinstance(acceptance, FilterPolicy):
            assert photos is not None  # the pipeline sees to it
            size = acceptance.backbone.image_size
            shots = open_kept(pq.read_table(photos.open()), labels, size, file.parent / "sources")
            verdicts, numbers = validate_by_filter(file, pool, labels, acceptance, shots)
            write_json(file.with_name("filter.json"), numbers)
            tracking.log_metrics("validation", numbers)
        else:
            scorer = ClipScorer(clip)
            policy = settle_on_pool(file, pool, labels, scorer, acceptance)
            if isinstance(policy, CalibratedPolicy):
                write_json(levels, policy.model_dump(mode="json"))
            verdicts = validate(file, pool, labels, scorer, policy)
        verdicts = apply_review(verdicts, decided)
        verdicts = within_quota(verdicts, quota) if quota else verdicts
        with atomic(path) as partial:
            pq.write_table(verdicts, partial)
        for output in written:
            caching.mark_current(output, key)
    verdicts, planned = pq.read_table(path), set(read_plan(file)["image_id"].to_pylist())
    if unknown := set(verdicts["image_id"].to_pylist()) - planned:
        raise InputError(
            f"{path}: image_id {shown(min(unknown, key=str))} is not in the plan; remove the file and run again"
        )
    table = verdicts.to_pandas()
    suite = quality.verdict_suite(labels, len(planned))
    gate("verdicts", [Check(table.assign(label=table["labels"].str[0]), suite)], file.parent)
    if decided:
        known = len(decided.keys() & planned)
        tracking.log_metrics("validation", {"reviewed": known, "reviewed_but_not_planned": len(decided) - known})
    tracking.log_metrics("validation", {f"reason/{name}": count for name, count in reasons(verdicts).items()})
    shares = yields(verdicts, "trick") | yields(verdicts, "labels")
    tracking.log_metrics("validation", {f"yield/{name}": share for name, share in shares.items()})
    if isinstance(acceptance, CalibratedPolicy):
        thresholds = read_artifact(levels, CalibratedPolicy).thresholds
        tracking.log_metrics("validation", {f"threshold/{name}": t.value for name, t in thresholds.items()})
        if missed := missed_targets(thresholds, verdicts):
            print(
                f"warning: acceptance: no threshold is sure to reach target_precision for {', '.join(missed)}; those take "
                "what comes nearest, and more images would tell them better",
                file=sys.stderr,
            )
    return FileRef.of(path)
