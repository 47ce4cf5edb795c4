"""Pictures of unseen labels: planned alone and in pairs, and rendered."""

from pathlib import Path
from typing import Annotated

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.planning.pairs import plan_pairs
from figment.planning.plan import write_plan
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.pool import Pool
from figment.synthesis.weights import model_revision
from figment.validation.features import FeatureStore
from steps.planning import check_plan
from steps.synthesis import prepare


@step(experiment_tracker=True)
def plan_unseen(
    labels: LabelSpace, generator: GeneratorConfig, images_per_label: int, seed: int, output: str
) -> Annotated[FileRef, "plan"]:
    """One row an image to be made of an unseen label."""
    path = Path(output) / "plan.parquet"
    write_plan(
        plan_pairs(labels, labels.unseen_ids, generator, model_revision(generator), images_per_label, seed), path
    )
    check_plan(path, labels)
    return FileRef.of(path)


@step(experiment_tracker=True)
def render_unseen(plan: FileRef, synthesis: SynthesisConfig, clip: ClipConfig) -> Annotated[FileRef, "images"]:
    """The pool's manifest, once every planned image is in it; CLIP's features beside. Interrupted, the next run goes on where
    this one stopped."""
    file = plan.open()
    pool = Pool(file.parent / "images")
    prepare(file, pool, synthesis, clip, FeatureStore(pool, ClipScorer(clip)))(file)
    manifest = FileRef.of(pool.manifest_file)
    tracking.log_dataset(pool.manifest_file, manifest.sha256, "images")
    return manifest
