"""The plan, and the gate it has to pass before anything is rendered."""

from itertools import chain
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from figment.adaptation.adapted import given_of
from figment.files import atomic
from figment.imports.images import bring_in
from figment.labels import LabelSpace
from figment.manifests import Adapted, FileRef, Prepared
from figment.ops import quality
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import ranges, write_plan
from figment.planning.planners import USES, MethodPlanner
from figment.recipes.config import AnyRecipe
from figment.synthesis.adapter_files import place_loras
from figment.synthesis.pool import Pool

ROWS_CHECKED = 100_000  # at a time; ids are unique in the whole plan, since it is sorted


@step(experiment_tracker=True)
def plan_images(
    recipe: AnyRecipe,
    labels: LabelSpace,
    data: Prepared,
    prompts: FileRef | None = None,
    adapted: Adapted | None = None,
) -> Annotated[FileRef, "plan"]:
    """plan.parquet: one row an image to be made, and one for each imported image, which is then in the pool; beside that of
    several methods uses.parquet, which of them learns from which image."""
    output, planning = Path(recipe.output), recipe.planning
    path, planner = output / "plan.parquet", planning.planner
    place_loras(planning.generator, output / "adapters")
    given = given_of(labels, planning, prompts, adapted.files if adapted else (), data.photos)
    rows, imported = planner.rows(given, planning), bring_in(planning.imported, labels, Pool(output / "images"))
    if isinstance(planner, MethodPlanner):
        uses = list(planner.uses(given, planning))
        uses += planner.uses_of_imported(given, list(imported))
        rows = (row for _, _, row in uses)
        table = [{"method": name, "photo": photo, "image_id": row.image_id} for name, photo, row in uses]
        with atomic(output / USES) as partial:
            pq.write_table(pa.Table.from_pylist(table), partial)
    write_plan(chain(rows, imported), path)
    tables = (part.to_pandas() for part in ranges(path, ROWS_CHECKED))
    suite = quality.plan_suite(labels)
    gate("plan", (Check(table.assign(label=table["labels"].str[0]), suite) for table in tables), output)
    return FileRef.of(path)
