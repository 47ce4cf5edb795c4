"""Classifiers are trained: one, or one for each of several sets, where only the data changes."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef, Prepared
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.recipes.config import AnyRecipe
from figment.training.histories import read_history
from figment.training.jobs import Job, Material, save_trained
from figment.training.lists import write_list
from figment.training.saved import WEIGHTS, read_model


@step(role="train", experiment_tracker=True)
def train_classifiers(
    recipe: AnyRecipe,
    labels: LabelSpace,
    data: Prepared,
    plan: FileRef | None = None,
    images: FileRef | None = None,
    verdicts: FileRef | None = None,
) -> Annotated[Classifiers, "classifiers"]:
    """The folder of each holds its weights, model.json, history.json and the list of images that it learned from. Killed, the
    next run resumes; what is there already under the same inputs is not trained again."""
    output = Path(recipe.output)
    real = recipe.dataset, caching.cached, recipe.sets, data.splits, data.photos
    found, deployed = {}, ""
    for job in recipe.trainer.jobs(Material(output, labels, *real, plan, images, verdicts, recipe.clip)):
        with tracking.classifier(job.name) if job.compared else nullcontext():
            train(job)
        weights = FileRef.of(job.folder / WEIGHTS)
        found[job.name] = ClassifierRef(name=job.name, images=read_model(job.folder).images, weights=weights)
        deployed = job.name if job.deployed else deployed
    return Classifiers(items=tuple(found.values()), deployed=deployed)


def train(job: Job) -> None:
    """Do the job, unless its result is current; its curve is logged either way."""
    key, weights = caching.result_key(job.module, **job.inputs), job.folder / WEIGHTS
    checkpoint = Checkpoint(job.folder / CHECKPOINT, checkpoint_key(job.version, **job.inputs))
    if job.listed is not None:
        write_list(job.listed, job.folder)
    if caching.is_current(weights, key):
        tracking.log_curve(job.prefix, read_history(job.folder))
    else:
        with tracking.curve(job.prefix) as log:
            trained = job.train(checkpoint, log)
        save_trained(job, trained, key)
        caching.mark_current(weights, key)
    checkpoint.path.unlink(missing_ok=True)
