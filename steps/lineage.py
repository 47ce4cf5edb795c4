"""The last steps: the run's folder becomes DVC's, and what made what is written down where each system, and a person, will look
for it."""

from pathlib import Path
from typing import Annotated

from figment.manifests import FileRef
from figment.ops import lineage, versioning
from figment.ops.steps import step
from figment.ops.versioning import Versioned
from figment.recipes.config import AnyRecipe


@step
def version_dataset(recipe: AnyRecipe) -> Annotated[Versioned, "dataset"]:
    """``output``/config.yaml, and dataset.dvc, the pointer to all that the run made."""
    output = Path(recipe.output)
    lineage.write_config(output)
    return versioning.version(output, recipe.versioning)


@step(experiment_tracker=True)
def record_lineage(recipe: AnyRecipe, dataset: Versioned) -> Annotated[FileRef, "lineage"]:
    """``output``/lineage.json; tags of the MLflow run, metadata of the ZenML run."""
    output = Path(recipe.output)
    lineage.record(output, dataset, recipe)
    return FileRef.of(output / lineage.LINEAGE)
