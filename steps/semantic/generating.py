"""Pictures of unseen labels: planned alone and in pairs, and rendered."""

from functools import partial
from pathlib import Path
from typing import Annotated

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import quality, tracking
from figment.ops.steps import step
from figment.planning.pairs import plan_pairs
from figment.planning.plan import ranges, write_plan
from figment.synthesis.config import GeneratorConfig, SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.validation.clip import ClipConfig, ClipScorer
from figment.validation.features import FeatureStore

ROWS_CHECKED = 100_000  # at a time


@step(experiment_tracker=True)
def plan_unseen(
    labels: LabelSpace, generator: GeneratorConfig, images_per_label: int, seed: int, output: str
) -> Annotated[FileRef, "plan"]:
    """One row an image to be made of an unseen label."""
    tracking.log_parameters("planning", {**generator.model_dump(), "images_per_label": images_per_label, "seed": seed})
    path = Path(output) / "plan.parquet"
    write_plan(
        plan_pairs(labels, labels.unseen_ids, generator, model_revision(generator), images_per_label, seed), path
    )
    for part in ranges(path, ROWS_CHECKED):
        table = part.to_pandas()
        quality.check(table.assign(label=table["labels"].str[0]), "plan", quality.plan_suite(labels))
    return FileRef.of(path)


@step(experiment_tracker=True)
def render_unseen(plan: FileRef, synthesis: SynthesisConfig, clip: ClipConfig) -> Annotated[FileRef, "images"]:
    """The pool's manifest, once every planned image is in it; CLIP's features beside. Interrupted, the next run goes on where
    this one stopped."""
    tracking.log_parameters("synthesis", synthesis.model_dump())
    file = plan.open()
    pool = Pool(file.parent / "images")
    store = FeatureStore(pool, ClipScorer(clip))
    report = synthesise(file, pool, synthesis, observer=store, log=partial(tracking.log_metrics, "synthesis"))
    tracking.log_metrics("synthesis", {"planned": report.planned, "rendered": report.rendered})
    if report.stopped:
        raise InputError(f"synthesis: {report.stopped}; {report.rendered} images were made. Run again to go on")
    manifest = FileRef.of(pool.manifest_file)
    tracking.log_dataset(pool.manifest_file, manifest.sha256, "images")
    return manifest
