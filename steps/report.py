"""The report a person reads: any recipe's sections in one page, and the lines that a run ends with."""

from pathlib import Path
from typing import Annotated, Any

from zenml import get_step_context

from figment.evaluation.ask_run import write_review
from figment.evaluation.report import cost_section, gate_section, render
from figment.evaluation.verdict import SUMMARY
from figment.files import write_json, write_text
from figment.manifests import FileRef
from figment.ops import timing, tracking
from figment.ops.gates import expectations_held
from figment.ops.lineage import lineage_tags
from figment.ops.steps import step
from figment.recipes.config import AnyRecipe
from figment.recipes.made import Made
from figment.recipes.reports import REPORTS


@step(experiment_tracker=True)
def write_report(recipe: AnyRecipe, made: list[Any]) -> Annotated[FileRef, "report"]:
    """report.html: self-contained, for a browser; summary.json: how the run ended, for a terminal; and, if images were judged,
    review.html, on which verdicts are overruled. ``made``: what the run's steps returned, of which the recipe takes what it
    shows."""
    output = Path(recipe.output)
    found = Made(output, made)
    report = REPORTS[recipe.kind](recipe, found)
    if report.metrics:
        tracking.log_sets("zsl/mAP", report.metrics)
        write_json(output / "metrics.json", {name: round(value, 4) for name, value in report.metrics.items()})
    held = expectations_held(found.gates, output)
    more = [
        *([gate_section(held)] if held else []),
        cost_section(timing.logged_metrics(), timing.step_seconds(), report.price_per_hour),
    ]
    path = output / "report.html"
    review = write_review(output, recipe.review_file).name if found.file("verdicts") else ""
    write_text(path, render(report, more, lineage_tags(get_step_context().pipeline_run.name), review))
    write_json(output / SUMMARY, report.summary(path).model_dump(mode="json"))
    tracking.log_file(path)
    for name, image in report.logged.items():
        tracking.log_image(image, name)
    return FileRef.of(path)
