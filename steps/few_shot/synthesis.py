"""Make the pictures that are planned and not there yet, each from its photo."""

from typing import Annotated

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.pool import Pool
from figment.validation.features import FeatureStore
from steps.synthesis import prepare


@step(experiment_tracker=True)
def make_pictures(plan: FileRef, synthesis: SynthesisConfig, clip: ClipConfig) -> Annotated[FileRef, "images"]:
    """The pool's manifest, once every planned picture is in it. Interrupted, the next run goes on where this one stopped."""
    file = plan.open()
    pool = Pool(file.parent / "images")
    prepare(file, pool, synthesis, clip, FeatureStore(pool, ClipScorer(clip)))(file)
    manifest = FileRef.of(pool.manifest_file)
    tracking.log_dataset(pool.manifest_file, manifest.sha256, "images")
    return manifest
