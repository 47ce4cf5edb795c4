"""The report a person reads, and the contact sheets beside the numbers in MLflow."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from PIL import Image
from zenml import get_step_context

from figment.clip.scorer import ClipConfig
from figment.evaluation import report
from figment.evaluation.errors import WorstError
from figment.evaluation.results import Results
from figment.files import write_text
from figment.licences import clip_licence, licence_of
from figment.manifests import Classifiers, FileRef
from figment.ops import timing, tracking
from figment.ops.gates import expectations_held
from figment.ops.lineage import lineage_tags
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import read_plan
from figment.reading import read_artifact
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.training.config import TrainingConfig
from figment.training.histories import read_curve
from figment.validation.review import read_review
from figment.validation.verdicts import AcceptanceConfig, reasons, yields

ACCEPTED, REJECTED = 12, 6  # pictures a class


@step(experiment_tracker=True)
def write_report(
    plan: FileRef,
    images: FileRef,
    verdicts: FileRef,
    checked: list[str],
    classifiers: Classifiers,
    results: Results,
    errors: FileRef,
    generator: GeneratorConfig,
    synthesis: SynthesisConfig,
    clip: ClipConfig,
    acceptance: AcceptanceConfig,
    training: TrainingConfig,
    review: str | None,
    output: str,
) -> Annotated[FileRef, "report"]:
    """report.html: self-contained, for a browser."""
    planned, judged = read_plan(plan.open()), pq.read_table(verdicts.open())
    thumbnails = report.pick_thumbnails(planned, judged, Pool(images.open().parent), ACCEPTED, REJECTED)
    folders = {item.name: item.weights.open().parent for item in classifiers.items}
    revision, seconds = model_revision(generator), timing.step_seconds()
    model = f"{generator.model} @ {revision}"
    terms = {
        model: licence_of(generator.model, revision),
        f"CLIP {clip.model}": clip_licence(clip.model, clip.pretrained),
    }
    html = report.render_report(
        title="Figment: bag of tricks",
        results=results,
        thumbnails=thumbnails,
        reasons=reasons(judged),
        yields={by: yields(judged, by) for by in ("trick", "label")},
        histories={name: read_curve(folder) for name, folder in folders.items()},
        provenance={
            "plan": f"{len(planned)} images, sha256 {plan.sha256}",
            "images": f"manifest sha256 {images.sha256}",
            "the chain": f"figment why {folders[results.confusion_of]}",
            **lineage_tags(get_step_context().pipeline_run.name),
        },
        licences=terms,
        map_of_features=Image.open(Path(output) / "feature_map.png"),
        asked=report.what_was_asked(planned),
        settings=report.what_was_chosen(model, clip, acceptance, review, training),
        errors=read_artifact(errors.open(), list[WorstError]),
        gates=expectations_held(["plan", "verdicts", *checked], Path(output)),
        costs=report.costs(timing.logged_metrics(), sum(seconds.values()), synthesis.price_per_hour),
        seconds=seconds,
        reviewed=read_review(Path(review)) if review else {},
    )
    path = Path(output) / "report.html"
    write_text(path, html)
    tracking.log_file(path)
    for name, passed in (("accepted", True), ("rejected", False)):
        shown = [t for t in thumbnails if (t.reason == "accepted") is passed]
        sheet = report.contact_sheet(shown, results.labels, ACCEPTED if passed else REJECTED)
        tracking.log_image(sheet, f"{name}.png")
    tracking.log_confusion(results.confusion, results.labels)
    return FileRef.of(path)
