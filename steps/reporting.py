"""The report a person reads, and the contact sheets beside the numbers in MLflow."""

import json
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from PIL import Image
from zenml import get_step_context, step

from figment.evaluation.report import contact_sheet, pick_thumbnails, render_report
from figment.evaluation.results import Results
from figment.files import write_text
from figment.manifests import Classifiers, FileRef
from figment.ops import tracking
from figment.ops.lineage import lineage_tags
from figment.planning.plan import read_plan
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.validation.verdicts import reasons, yields

ACCEPTED, REJECTED = 12, 6  # pictures a class


@step(experiment_tracker=True)
def write_report(
    plan: FileRef,
    images: FileRef,
    verdicts: FileRef,
    classifiers: Classifiers,
    results: Results,
    generator: GeneratorConfig,
    output: str,
) -> Annotated[FileRef, "report"]:
    """report.html: self-contained, for a browser."""
    planned, judged = read_plan(plan.open()), pq.read_table(verdicts.open())
    thumbnails = pick_thumbnails(planned, judged, Pool(images.open().parent), ACCEPTED, REJECTED)
    folders = {item.name: item.weights.open().parent for item in classifiers.items}
    histories = {name: json.loads((folder / "history.json").read_text()) for name, folder in folders.items()}
    provenance = {
        "generator": f"{generator.model} @ {model_revision(generator)}",
        "plan": f"{len(planned)} images, sha256 {plan.sha256}",
        "images": f"manifest sha256 {images.sha256}",
        **lineage_tags(get_step_context().pipeline_run.name),
    }
    license_file = Path(generator.model) / "NOTICE"
    notices = license_file.read_text(encoding="utf-8").splitlines() if license_file.is_file() else []
    html = render_report(
        title="Figment: bag of tricks",
        results=results,
        thumbnails=thumbnails,
        reasons=reasons(judged),
        yields={by: yields(judged, by) for by in ("trick", "label")},
        histories=histories,
        provenance=provenance,
        notices=notices,
        map_of_features=Image.open(Path(output) / "feature_map.png"),
    )
    path = Path(output) / "report.html"
    write_text(path, html)
    tracking.log_file(path)
    for name, passed in (("accepted", True), ("rejected", False)):
        shown = [t for t in thumbnails if (t.reason == "accepted") is passed]
        tracking.log_image(contact_sheet(shown, results.labels, ACCEPTED if passed else REJECTED), f"{name}.png")
    tracking.log_confusion(results.confusion, results.labels)
    return FileRef.of(path)
