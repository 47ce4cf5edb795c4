"""Make the pictures that are planned and not there yet, each from its photo."""

from functools import partial
from typing import Annotated

from rich.console import Console

from figment.errors import InputError
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.synthesis.budget import Budget
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.estimate import estimate
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Inputs
from figment.synthesis.pool import Pool
from figment.synthesis.renderers import Renderers
from figment.validation.clip import ClipConfig, ClipScorer
from figment.validation.features import FeatureStore


@step(experiment_tracker=True)
def make_pictures(plan: FileRef, synthesis: SynthesisConfig, clip: ClipConfig) -> Annotated[FileRef, "images"]:
    """The pool's manifest, once every planned picture is in it. Interrupted, the next run goes on where this one stopped."""
    tracking.log_parameters("synthesis", synthesis.model_dump())
    file = plan.open()
    pool, renderers = Pool(file.parent / "images"), Renderers(synthesis, Inputs.beside(file))
    if expected := estimate(file, pool, synthesis, renderers):
        Console(width=120).print(expected.table())
        tracking.log_metrics("synthesis", expected.metrics())
    report = synthesise(
        file,
        pool,
        synthesis,
        renderers=renderers,
        observer=FeatureStore(pool, ClipScorer(clip)),
        budget=Budget(synthesis),
        log=partial(tracking.log_metrics, "synthesis"),
    )
    tracking.log_metrics("synthesis", {"planned": report.planned, "rendered": report.rendered})
    if report.stopped:
        raise InputError(f"synthesis: {report.stopped}; {report.rendered} images were made. Run again to go on")
    manifest = FileRef.of(pool.manifest_file)
    tracking.log_dataset(pool.manifest_file, manifest.sha256, "images")
    return manifest
