"""The plan, and the gate it has to pass before anything is rendered."""

from pathlib import Path
from typing import Annotated

from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.bag_of_tricks import plan_bag_of_tricks, replicates_of
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import ranges, write_plan
from figment.prompts.tricks import Wording, build_tricks, read_prompts, scales_of
from figment.synthesis.families import Requests
from figment.synthesis.weights import check_family, model_revision

ROWS_CHECKED = 100_000  # at a time; ids are unique in the whole plan, since it is sorted


@step(experiment_tracker=True)
def plan_images(
    labels: LabelSpace,
    prompts: FileRef,
    tricks: list[str],
    domains: list[str] | None,
    wording: Wording,
    sets: dict[str, dict[str, int]],
    generator: GeneratorConfig,
    seed: int,
    output: str,
) -> Annotated[FileRef, "plan"]:
    """One row an image to be made: as many as the largest of the ``sets`` (images of every class by trick) wants."""
    chosen = build_tricks(tricks, domains, generator.guidance_scale, wording)
    check_family(generator, Requests(scales_of(chosen)))
    path = Path(output) / "plan.parquet"
    book = read_prompts(prompts.open())
    images = replicates_of(sets, book)
    write_plan(plan_bag_of_tricks(book, chosen, generator, model_revision(generator), images, seed), path)
    check_plan(path, labels)
    return FileRef.of(path)


def check_plan(path: Path, labels: LabelSpace) -> None:
    """The gate ``plan``, of the recipe whose output folder the plan lies in."""
    tables = (part.to_pandas() for part in ranges(path, ROWS_CHECKED))
    suite = quality.plan_suite(labels)
    gate("plan", (Check(table.assign(label=table["labels"].str[0]), suite) for table in tables), path.parent)
