"""The report a person reads."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from zenml import get_step_context

from figment.adaptation.textual_inversion import WordsFile
from figment.evaluation.few_shot_report import Shown, render_few_shot_report, thumbnail
from figment.evaluation.few_shot_results import FewShotResults
from figment.files import write_text
from figment.images import decode
from figment.labels import LabelSpace
from figment.manifests import Classifiers, FileRef
from figment.ops import tracking
from figment.ops.lineage import lineage_tags
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import read_plan
from figment.prompts.contexts import read_contexts
from figment.reading import read_artifact
from figment.synthesis.pool import Pool
from figment.synthesis.sources import Sources
from figment.synthesis.weights import model_revision
from figment.training.histories import read_curve

PHOTOS, MADE = 2, 10  # shown of a class, of a photo


@step(experiment_tracker=True)
def report_few_shot(
    labels: LabelSpace,
    photos: FileRef,
    heads: Classifiers,
    results: FewShotResults,
    generator: GeneratorConfig,
    output: str,
    plan: FileRef | None = None,
    pictures: FileRef | None = None,
    images: FileRef | None = None,
    weights: FileRef | None = None,
    contexts: FileRef | None = None,
    words: FileRef | None = None,
) -> Annotated[FileRef, "report"]:
    """report.html: self-contained, for a browser."""
    folders = {item.name: item.weights.open().parent for item in heads.items}
    histories = {n: read_curve(folder) for n, folder in folders.items()}
    provenance = {"photos": f"sha256 {photos.sha256}"}
    if plan and images:
        provenance["generator"] = f"{generator.model} @ {model_revision(generator)}"
        provenance |= {"plan": f"sha256 {plan.sha256}", "images": f"manifest sha256 {images.sha256}"}
    notice = Path(generator.model) / "NOTICE"
    sheet = sheet_of(results.deployed, photos, plan, pictures, images, weights) if plan and pictures and images else {}
    html = render_few_shot_report(
        results,
        sheet,
        read_contexts(contexts.open(), labels) if contexts else {},
        read_artifact(words.open(), WordsFile).model_dump()["probes"] if words else {},
        read_artifact(Path(output) / "filter.json", dict[str, float]) if weights else {},
        histories,
        provenance | lineage_tags(get_step_context().pipeline_run.name),
        notice.read_text(encoding="utf-8").splitlines() if notice.is_file() else [],
    )
    path = Path(output) / "report.html"
    write_text(path, html)
    tracking.log_file(path)
    return FileRef.of(path)


def sheet_of(
    method: str, photos: FileRef, plan: FileRef, pictures: FileRef, images: FileRef, weights: FileRef | None
) -> dict[str, list[list[Shown]]]:
    """By class, some photos, each with some of what the method made of it."""
    sources, planned = (
        Sources(photos.open().parent / "sources"),
        {r["image_id"]: r for r in read_plan(plan.open()).to_pylist()},
    )
    weighed = {row["image_id"]: row for row in pq.read_table(weights.open()).to_pylist()} if weights else {}
    made: dict[int, list[str]] = {}
    for row in pq.read_table(pictures.open()).to_pylist():
        if row["method"] == method:
            made.setdefault(row["photo"], []).append(row["image_id"])
    sheet: dict[str, list[list[Shown]]] = {}
    chosen: dict[str, None] = {}
    rows: list[tuple[str, str, list[str]]] = []
    for number, photo in enumerate(pq.read_table(photos.open()).to_pylist()):
        if sum(label == photo["label"] for label, _, _ in rows) < PHOTOS:
            rows.append((photo["label"], photo["image"], made.get(number, [])[:MADE]))
            chosen |= dict.fromkeys(rows[-1][2])
    files = Pool(images.open().parent).read(chosen, ["image_id", "image"])
    found = {row["image_id"]: row["image"]["bytes"] for batch in files for row in batch.to_pylist()}
    for label, image, ids in rows:
        shown = [Shown(thumbnail(sources.read(image)), "photo")]
        for image_id in ids:
            judged = weighed.get(image_id)
            caption = f"{judged['weight']:.2f} {judged['predicted']}" if judged else ""
            shown.append(Shown(thumbnail(decode(found[image_id], image_id)), caption, planned[image_id]["prompt"]))
        sheet.setdefault(label, []).append(shown)
    return sheet
