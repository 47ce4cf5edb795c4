"""Tune the generator's text encoder where its images fail."""

from pathlib import Path
from typing import Annotated

from figment.adaptation.text_encoder import CHECKPOINT, CHECKPOINT_VERSION, TuningConfig, tune_text_encoder
from figment.clip.scorer import ClipConfig
from figment.files import write_json
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.prompts.tricks import read_prompts
from figment.synthesis.weights import model_revision
from figment.validation.policies import AcceptancePolicy


@step(role="train", experiment_tracker=True)
def tune_generator(
    rivals: LabelSpace,
    prompts: FileRef,
    generator: GeneratorConfig,
    negative_prompt: str,
    clip: ClipConfig,
    acceptance: AcceptancePolicy,
    tuning: TuningConfig,
    output: str,
) -> Annotated[FileRef, "tuning"]:
    """tuning.json: the adapter's hash, acceptance before and after, the history. The adapter itself lies in ``adapters``."""
    path = Path(output) / "tuning.json"
    revision = model_revision(generator)
    inputs = {
        "labels": rivals,
        "prompts": prompts.sha256,
        "generator": [generator, revision, negative_prompt],
        "clip": [clip, caching.model_digest(clip.model)],
        "acceptance": acceptance,
        "tuning": tuning,
    }
    if tuning.imported:
        inputs["imported"] = caching.file_digest(tuning.imported)
    key = caching.result_key(__name__, **inputs)
    if not caching.is_current(path, key):
        tuned = tune_text_encoder(
            read_prompts(prompts.open()),
            rivals,
            generator,
            negative_prompt,
            clip,
            acceptance,
            tuning,
            Path(output),
            revision,
            checkpoint_key(CHECKPOINT_VERSION, **inputs),
            lambda step, metrics: tracking.log_metrics("tuning", metrics, step),
        )
        write_json(path, tuned.model_dump(mode="json"))
        caching.mark_current(path, key)
    (Path(output) / CHECKPOINT).unlink(missing_ok=True)
    return FileRef.of(path)
