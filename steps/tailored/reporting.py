"""The numbers of the kept epoch and what the filter is worth, for DVC, MLflow and a person's browser."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from zenml import get_step_context

from figment.adaptation.text_encoder import Tuned
from figment.evaluation.tailored_report import render_tailored_report
from figment.files import write_json, write_text
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.lineage import lineage_tags
from figment.ops.steps import step
from figment.planning.plan import read_plan
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.training.histories import HISTORY, ComparedEpochs


@step(experiment_tracker=True)
def report_tailored(
    unseen: LabelSpace,
    plan: FileRef,
    images: FileRef,
    verdicts: FileRef,
    classifier: FileRef,
    output: str,
    tuning: FileRef | None = None,
) -> Annotated[FileRef, "report"]:
    """metrics.json and report.html."""
    planned, judged, pool = read_plan(plan.open()), pq.read_table(verdicts.open()), Pool(images.open().parent)
    history = read_artifact(classifier.open().parent / HISTORY, ComparedEpochs)
    tuned = read_artifact(tuning.open(), Tuned) if tuning else None
    metrics = history.test | {f"clip_{name}": value for name, value in history.clip.items()}
    metrics["filter/passed"] = sum(judged["accepted"].to_pylist()) / len(judged)
    if tuned:
        metrics |= {"tuning/before": tuned.before.acceptance, "tuning/after": tuned.after.acceptance}
    tracking.log_sets("zsl/mAP", metrics)
    write_json(Path(output) / "metrics.json", {name: round(value, 4) for name, value in metrics.items()})
    provenance = {
        "plan": f"{len(planned)} images, sha256 {plan.sha256}",
        "images": f"manifest sha256 {images.sha256}",
        "classifier": f"sha256 {classifier.sha256}",
        "text encoder": (tuned.adapter if tuned else "") or "the generator's own",
        **lineage_tags(get_step_context().pipeline_run.name),
    }
    path = Path(output) / "report.html"
    write_text(path, render_tailored_report(unseen, planned, judged, pool, history.model_dump(), tuned, provenance))
    tracking.log_file(path)
    return FileRef.of(path)
