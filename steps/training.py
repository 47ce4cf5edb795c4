"""Classifiers are trained: one, or one for each of several sets, where only the data changes."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

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

ODD = re.compile(r"[^a-z0-9]+")  # in a step's name


@step(role="train", experiment_tracker=True)
def train_part(
    recipe: AnyRecipe,
    labels: LabelSpace,
    data: Prepared,
    plan: FileRef | None,
    images: FileRef | None,
    verdicts: FileRef | None,
    name: str,
) -> Annotated[ClassifierRef, "classifier"]:
    """The classifier of that name, where ``fan_out`` asks for a step each: no one of these steps waits for another."""
    for job in jobs_of(recipe, labels, data, plan, images, verdicts):
        if job.name == name:
            with tracking.classifier(name):
                train(job)
            found = reference(job)
    return found


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
    found, deployed, apart = {}, "", recipe.apart
    for job in jobs_of(recipe, labels, data, plan, images, verdicts):
        told = job.name in apart  # by the step that trained it
        with tracking.classifier(job.name) if job.compared and not told else nullcontext():
            train(job, told)
        found[job.name] = reference(job)
        deployed = job.name if job.deployed else deployed
    return Classifiers(items=tuple(found.values()), deployed=deployed)


def train_apart(recipe: AnyRecipe, *given: Any, after: Any) -> list[Any]:
    """Within a pipeline: a step ``train_part`` for each classifier that is to have one of its own, or else ``after`` alone; the
    step that trains the rest waits for what is returned."""
    steps = enumerate(recipe.apart, start=1)
    return [
        train_part(recipe, *given, name, id=f"train_part_{number}_{ODD.sub('_', name.lower())}", after=[after])
        for number, name in steps
    ] or [after]


def jobs_of(recipe: AnyRecipe, labels: LabelSpace, data: Prepared, *made: FileRef | None) -> Iterator[Job]:
    """What is to be trained; ``made``: the plan, the images and the verdicts."""
    real = recipe.dataset, caching.cached, recipe.sets, data.splits, data.photos
    return recipe.trainer.jobs(Material(Path(recipe.output), labels, *real, *made, recipe.clip))


def reference(job: Job) -> ClassifierRef:
    images = read_model(job.folder).images
    return ClassifierRef(name=job.name, images=images, weights=FileRef.of(job.folder / WEIGHTS))


def train(job: Job, told: bool = False) -> None:
    """Do the job, unless its result is current; its curve is logged either way, unless that was ``told`` before."""
    inputs, weights = {**job.inputs, **job.later()}, job.folder / WEIGHTS
    key = caching.result_key(job.module, **inputs)
    checkpoint = Checkpoint(job.folder / CHECKPOINT, checkpoint_key(job.version, **inputs))
    if job.listed is not None:
        write_list(job.listed, job.folder)
    if caching.is_current(weights, key):
        if not told:
            tracking.log_curve(job.prefix, read_history(job.folder))
    else:
        with tracking.curve(job.prefix) as log:
            trained = job.train(checkpoint, log)
        save_trained(job, trained, key)
        caching.mark_current(weights, key)
    checkpoint.path.unlink(missing_ok=True)
