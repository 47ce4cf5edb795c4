"""CLIP checks every picture made for unseen labels: what it does not show is not trained on."""

import sys
from typing import Annotated

import pyarrow.parquet as pq

from figment.clip.scorer import ClipConfig
from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, quality, tracking
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import count_rows
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.validation.multilabel import label_yields, missed_targets, settle_on_pool, validate_multilabel
from figment.validation.policies import REASONS, AcceptancePolicy, CalibratedPolicy
from figment.validation.verdicts import reasons


@step(experiment_tracker=True)
def validate_unseen(
    labels: LabelSpace, plan: FileRef, images: FileRef, clip: ClipConfig, acceptance: AcceptancePolicy
) -> Annotated[FileRef, "verdicts"]:
    """verdicts.parquet beside the plan: accepted with the labels to train on, or the reason why not; with a calibrated policy
    also thresholds.json, what it accepts each class at."""
    file = plan.open()
    path, levels = file.with_name("verdicts.parquet"), file.with_name("thresholds.json")
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        plan=plan.sha256,
        images=images.sha256,
        clip=[clip.model_dump(mode="json"), caching.model_digest(clip.model)],
        acceptance=acceptance.model_dump(mode="json"),
    )
    written = [levels, path] if isinstance(acceptance, CalibratedPolicy) else [path]
    if not all(caching.is_current(output, key) for output in written):
        pool = Pool(images.open().parent)
        policy = settle_on_pool(file, pool, labels, clip, acceptance)
        if isinstance(policy, CalibratedPolicy):
            write_json(levels, policy.model_dump(mode="json"))
        else:
            levels.unlink(missing_ok=True)
        verdicts = validate_multilabel(file, pool, labels, clip, policy)
        with atomic(path) as partial:
            pq.write_table(verdicts, partial)
        for output in written:
            caching.mark_current(output, key)
    verdicts = pq.read_table(path)
    gate("verdicts", [Check(verdicts.to_pandas(), quality.multilabel_verdict_suite(count_rows(file)))], file.parent)
    tracking.log_metrics("validation", {f"reason/{name}": n for name, n in reasons(verdicts, REASONS).items()})
    tracking.log_metrics("validation", {f"yield/{name}": share for name, share in label_yields(verdicts).items()})
    if isinstance(acceptance, CalibratedPolicy):
        thresholds = read_artifact(levels, CalibratedPolicy).thresholds
        tracking.log_metrics("validation", {f"threshold/{name}": t.value for name, t in thresholds.items()})
        if missed := missed_targets(thresholds, verdicts):
            print(
                f"warning: acceptance: no threshold is sure to reach target_precision for {', '.join(missed)}; those take "
                "what comes nearest, and more pictures would tell them better",
                file=sys.stderr,
            )
    return FileRef.of(path)
