"""``textual_inversion``: a word for each class, learned from its photos, and tried out before a plan is built on it."""

from pathlib import Path

from figment.adaptation.config import InversionConfig, ProbeConfig
from figment.adaptation.stage import Job, Material
from figment.adaptation.textual_inversion import (
    Probing,
    WordsFile,
    forget_learning,
    imported_words,
    learn_concepts,
    probe_concepts,
)
from figment.clip.scorer import ClipScorer
from figment.keys import file_digest
from figment.loop import Log
from figment.planning.words import Words
from figment.synthesis.concepts import relative_noise


def job(inversion: InversionConfig, probe: ProbeConfig, material: Material) -> Job:
    """words.json: the adapter's SHA-256 (the file lies in adapters/), the length of each usable word, and what the probe says of
    all. Prompts of a class whose word is not usable will say its name."""
    inputs = {**material.photo_inputs(), "inversion": inversion, "probe": probe}
    if inversion.imported:
        inputs["imported"] = file_digest(inversion.imported)

    def adapt(_: str, log: Log) -> WordsFile:
        small, whole = material.shots()
        folder = material.adapters
        if inversion.imported:
            adapter = imported_words(material.space, Path(inversion.imported), folder)
        else:
            adapter = learn_concepts(material.generator, small, material.names, inversion, folder, log)
        probing = Probing(material.generator, whole, ClipScorer(material.clip), probe, material.synthesis)
        probes = probe_concepts(adapter, probing)
        lengths = {name: relative_noise(adapter, name, 1.0) for name, found in probes.items() if found.usable}
        return WordsFile(words=Words(adapter.stem, lengths), probes=probes)

    return Job("words.json", __name__, 0, inputs, adapt, lambda: forget_learning(material.adapters))
