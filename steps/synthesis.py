"""Render what the plan asks for and the pool lacks."""

from pathlib import Path
from typing import Annotated

from zenml import step

from figment.manifests import FileRef
from figment.ops import tracking
from figment.planning.plan import read_plan
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.pool import Pool


@step(experiment_tracker=True)
def synthesise_images(plan: FileRef, generator: GeneratorConfig, output: str) -> Annotated[FileRef, "images"]:
    """The pool's manifest, after every planned image is in it. Interrupted, the next run goes on where this one stopped."""
    tracking.log_parameters("synthesis", generator.model_dump())
    pool = Pool(Path(output) / "images")
    report = synthesise(
        read_plan(plan.open()),
        pool,
        generator,
        log=lambda done, metrics: tracking.log_metrics("synthesis", metrics, done),
    )
    tracking.log_metrics(
        "synthesis", {"planned": report.planned, "rendered": report.rendered, "seconds": report.seconds}
    )
    manifest = FileRef.of(pool.manifest_file)
    tracking.log_dataset(pool.manifest_file, manifest.sha256, "images")
    return manifest
