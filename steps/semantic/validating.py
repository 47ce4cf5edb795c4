"""CLIP checks every picture made for unseen labels: what it does not show is not trained on."""

from typing import Annotated

import pyarrow.parquet as pq

from figment.files import atomic
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, quality, tracking
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import count_rows
from figment.synthesis.pool import Pool
from figment.validation.clip import ClipConfig
from figment.validation.multilabel import label_yields, validate_multilabel
from figment.validation.policies import REASONS, AcceptancePolicy
from figment.validation.verdicts import reasons


@step(experiment_tracker=True)
def validate_unseen(
    labels: LabelSpace, plan: FileRef, images: FileRef, clip: ClipConfig, acceptance: AcceptancePolicy
) -> Annotated[FileRef, "verdicts"]:
    """verdicts.parquet beside the plan: accepted with the labels to train on, or the reason why not."""
    file = plan.open()
    path = file.with_name("verdicts.parquet")
    key = caching.key_of(
        labels=labels.model_dump(mode="json"),
        plan=plan.sha256,
        images=images.sha256,
        clip=[clip.model_dump(mode="json"), caching.model_digest(clip.model)],
        acceptance=acceptance.model_dump(mode="json"),
    )
    if not caching.is_current(path, key):
        verdicts = validate_multilabel(file, Pool(images.open().parent), labels, clip, acceptance)
        with atomic(path) as partial:
            pq.write_table(verdicts, partial)
        caching.mark_current(path, key)
    verdicts = pq.read_table(path)
    gate("verdicts", [Check(verdicts.to_pandas(), quality.multilabel_verdict_suite(count_rows(file)))], file.parent)
    tracking.log_parameters("validation", {"clip": clip.model_dump(), **acceptance.model_dump()})
    tracking.log_metrics("validation", {f"reason/{name}": n for name, n in reasons(verdicts, REASONS).items()})
    tracking.log_metrics("validation", {f"yield/{name}": share for name, share in label_yields(verdicts).items()})
    return FileRef.of(path)
