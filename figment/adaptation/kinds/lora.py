"""``lora``: a LoRA for each class, or one for all, learned from their photos, and tried out before a plan is built on it."""

from figment.adaptation.config import LoraConfig, ProbeConfig
from figment.adaptation.lora import LorasFile, learn_loras, probe_loras
from figment.adaptation.stage import Job, Material
from figment.adaptation.textual_inversion import Probing, forget_learning
from figment.clip.scorer import ClipScorer
from figment.loop import Log


def job(config: LoraConfig, probe: ProbeConfig, material: Material) -> Job:
    """loras.json: the LoRA of each class (the files lie in adapters/) and what the probe says of it. Images of a class whose LoRA
    is not usable will be made without one."""

    def adapt(_: str, log: Log) -> LorasFile:
        small, whole = material.shots()
        generator, names, folder = material.generator, material.names, material.adapters
        loras = learn_loras(generator, small, names, config, folder, log)
        probing = Probing(generator, whole, ClipScorer(material.clip), probe, material.synthesis)
        return probe_loras(loras, names, folder, probing)

    inputs = {**material.photo_inputs(), "adaptation": config, "probe": probe}
    return Job("loras.json", __name__, 0, inputs, adapt, lambda: forget_learning(material.adapters))
