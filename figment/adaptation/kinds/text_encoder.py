"""``text_encoder``: the generator's text encoder is tuned where CLIP rejects its images."""

from figment.adaptation.config import TuningConfig
from figment.adaptation.stage import Job, Material
from figment.adaptation.text_encoder import CHECKPOINT, CHECKPOINT_VERSION, Tuned, tune_text_encoder
from figment.keys import file_digest, model_digest
from figment.loop import Log
from figment.prompts.tricks import read_prompts
from figment.synthesis.weights import model_revision


def job(config: TuningConfig, material: Material) -> Job:
    assert material.prompts is not None  # the pipeline sees to it
    prompts, revision = material.prompts, model_revision(material.generator)
    inputs = {
        "labels": material.space,
        "prompts": prompts.sha256,
        "generator": [material.generator, revision, material.negative_prompt],
        "clip": [material.clip, model_digest(material.clip.model)],
        "acceptance": material.policy,
        "tuning": config,
    }
    if config.imported:
        inputs["imported"] = file_digest(config.imported)

    def adapt(key: str, log: Log) -> Tuned:
        return tune_text_encoder(read_prompts(prompts.open()), material, config, key, log)

    def forget() -> None:
        (material.output / CHECKPOINT).unlink(missing_ok=True)

    return Job("tuning.json", __name__, CHECKPOINT_VERSION, inputs, adapt, forget)
