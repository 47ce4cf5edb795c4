"""The plan, and the gate it has to pass before anything is rendered."""

from pathlib import Path
from typing import Annotated

from zenml import get_step_context, step

from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality, tracking
from figment.ops.lineage import lineage_tags
from figment.planning.bag_of_tricks import plan_bag_of_tricks
from figment.planning.plan import ranges, write_plan
from figment.prompts.tricks import build_tricks, read_prompts
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.weights import model_revision

ROWS_CHECKED = 100_000  # at a time; ids are unique in the whole plan, since it is sorted


@step(experiment_tracker=True)
def plan_images(
    labels: LabelSpace,
    prompts: FileRef,
    tricks: list[str],
    domains: list[str],
    generator: GeneratorConfig,
    images_per_class: int,
    seed: int,
    output: str,
) -> Annotated[FileRef, "plan"]:
    """One row an image to be made."""
    tracking.tag(lineage_tags(get_step_context().pipeline_run.name))
    choices = {"classes": labels.names, "tricks": tricks, "domains": domains}
    tracking.log_parameters("planning", {**choices, "images_per_class": images_per_class, "seed": seed})
    chosen = build_tricks(tricks, domains, generator.guidance_scale)
    path = Path(output) / "plan.parquet"
    book = read_prompts(prompts.open())
    write_plan(plan_bag_of_tricks(book, chosen, generator, model_revision(generator), images_per_class, seed), path)
    for part in ranges(path, ROWS_CHECKED):
        table = part.to_pandas()
        quality.check(table.assign(label=table["labels"].str[0]), "plan", quality.plan_suite(labels))
    return FileRef.of(path)
