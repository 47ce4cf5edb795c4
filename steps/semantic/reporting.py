"""The numbers of the kept epoch, for DVC, MLflow and a person's browser."""

import math
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
from zenml import get_step_context

from figment.datasets.tagged import read_tagged
from figment.evaluation.row_spread import spread_correlation
from figment.evaluation.tagging import load_tagger
from figment.evaluation.zero_shot_report import render_zero_shot_report
from figment.files import write_json, write_text
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.lineage import lineage_tags
from figment.ops.steps import step
from figment.reading import read_artifact
from figment.training.histories import HISTORY, Epochs
from figment.validation.multilabel import label_yields
from figment.validation.policies import REASONS
from figment.validation.verdicts import reasons

EXAMPLES = 12  # pictures


@step(experiment_tracker=True)
def report_matrix(
    splits: FileRef, model: FileRef, output: str, verdicts: FileRef | None = None
) -> Annotated[FileRef, "report"]:
    """metrics.json and report.html. The test pictures were looked at in every epoch but chose none."""
    folder = model.open().parent
    test = read_tagged(splits.open().parent / "gzsl")
    tagger = load_tagger(folder)
    history = read_artifact(folder / HISTORY, Epochs)
    kept = history.epochs[history.kept - 1]
    correlation = spread_correlation(tagger.model, test, tagger.labels)
    metrics = {name: value for name, value in kept.items() if "/" in name}
    metrics |= {"row_spread/all": correlation.all, "row_spread/two_or_more": correlation.with_two_or_more}
    metrics = {name: value for name, value in metrics.items() if not math.isnan(value)}
    tracking.log_sets("zsl/mAP", metrics)
    write_json(Path(output) / "metrics.json", {name: round(value, 4) for name, value in metrics.items()})
    path = Path(output) / "report.html"
    made = read_artifact(splits.open(), dict[str, Any])
    provenance = {
        "pictures": ", ".join(f"{count} {name}" for name, count in made["pictures"].items()),
        "of them made for unseen labels": str(made["made"]),
        "weights": f"sha256 {model.sha256}",
        **lineage_tags(get_step_context().pipeline_run.name),
    }
    checked: dict[str, dict[str, Any]] = {}
    if verdicts:
        judged = pq.read_table(verdicts.open())
        checked = {"reasons": reasons(judged, REASONS), "yields": label_yields(judged)}
    rows = list(range(0, len(test), max(1, len(test) // EXAMPLES)))[:EXAMPLES]
    write_text(path, render_zero_shot_report(tagger, test, rows, metrics, history.model_dump(), provenance, checked))
    tracking.log_file(path)
    return FileRef.of(path)
