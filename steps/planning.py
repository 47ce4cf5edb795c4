"""The plan, and the gate it has to pass before anything is rendered."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.adaptation.adapted import Adapted, read_adapted
from figment.imports.images import bring_in
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.few_shot import Shot
from figment.planning.plan import ranges, write_plan
from figment.planning.planners import Given, Planning
from figment.prompts.tricks import read_prompts
from figment.synthesis.adapter_files import place_loras
from figment.synthesis.families import Requests
from figment.synthesis.pool import Pool
from figment.synthesis.weights import check_family, model_revision

ROWS_CHECKED = 100_000  # at a time; ids are unique in the whole plan, since it is sorted


@step(experiment_tracker=True)
def plan_images(
    labels: LabelSpace,
    planning: Planning,
    output: str,
    prompts: FileRef | None = None,
    adaptation: FileRef | None = None,
    photos: FileRef | None = None,
) -> Annotated[FileRef, "plan"]:
    """plan.parquet: one row an image to be made, and one for each imported image, which is then in the pool."""
    check_family(planning.generator, Requests(planning.scales, planning.negative_prompt, planning.strengths))
    path = Path(output) / "plan.parquet"
    place_loras(planning.generator, path.parent / "adapters")
    rows = planning.planner.rows(given_of(labels, planning, prompts, adaptation, photos), planning)
    write_plan(chain(rows, bring_in(planning.imported, labels, Pool(path.parent / "images"))), path)
    check_plan(path, labels)
    return FileRef.of(path)


def given_of(
    labels: LabelSpace,
    planning: Planning,
    prompts: FileRef | None,
    adaptation: FileRef | None = None,
    photos: FileRef | None = None,
) -> Given:
    """What earlier steps made, as a planner takes it."""
    adapted = read_adapted(adaptation.open()) if adaptation else Adapted()
    by_name = {label.name: label for label in labels.labels}
    shots = pq.read_table(photos.open()).to_pylist() if photos else []
    return Given(
        labels,
        read_prompts(prompts.open()) if prompts else [],
        model_revision(planning.generator),
        adapted.adapter,
        adapted.words,
        [Shot(row["image"], by_name[row["label"]]) for row in shots],
    )


def check_plan(path: Path, labels: LabelSpace) -> None:
    """The gate ``plan``, of the recipe whose output folder the plan lies in."""
    tables = (part.to_pandas() for part in ranges(path, ROWS_CHECKED))
    suite = quality.plan_suite(labels)
    gate("plan", (Check(table.assign(label=table["labels"].str[0]), suite) for table in tables), path.parent)
