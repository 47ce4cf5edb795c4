"""A word or a LoRA for each class, learned from its shots, and tried out before a plan is built on it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq

from figment.adaptation.config import InversionConfig, LoraConfig, ProbeConfig
from figment.adaptation.lora import learn_loras as learn
from figment.adaptation.lora import probe_loras
from figment.adaptation.textual_inversion import (
    WordsFile,
    forget_learning,
    imported_words,
    learn_concepts,
    probe_concepts,
)
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.planning.words import Words
from figment.synthesis.concepts import relative_noise
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.sources import Sources


@step(role="train", experiment_tracker=True)
def learn_words(
    labels: LabelSpace,
    photos: FileRef,
    generator: GeneratorConfig,
    inversion: InversionConfig,
    probe: ProbeConfig,
    synthesis: SynthesisConfig,
    clip: ClipConfig,
    output: str,
) -> Annotated[FileRef, "words"]:
    """words.json: the adapter's SHA-256 (the file lies in adapters/), the length of each usable word, and what the probe
    says of all. Prompts of a class whose word is not usable will say its name, which is said aloud here."""
    path = Path(output) / "words.json"
    imported = {"imported": caching.file_digest(inversion.imported)} if inversion.imported else {}
    key = key_of(labels, photos, generator, probe, clip, **imported, inversion=inversion.model_dump(mode="json"))
    if not caching.is_current(path, key):
        small, whole = shots_of(labels, photos, generator, output)
        names = {label.name: label.prompt_name for label in labels.labels}
        log = lambda metrics, done: tracking.log_metrics("adaptation", metrics, done)  # noqa: E731
        folder = Path(output) / "adapters"
        if inversion.imported:
            adapter = imported_words(labels, Path(inversion.imported), folder)
        else:
            adapter = learn_concepts(generator, small, names, inversion, folder, log)
        probes = probe_concepts(generator, adapter, whole, ClipScorer(clip), probe, synthesis)
        for name, found in probes.items():
            if not found.usable:
                print(f"warning: the word learned for {name!r} is not used: {found.reason}", file=sys.stderr)
        lengths = {name: relative_noise(adapter, name, 1.0) for name, found in probes.items() if found.usable}
        write_json(path, WordsFile(words=Words(adapter.stem, lengths), probes=probes).model_dump())
        caching.mark_current(path, key)
        forget_learning(adapter.parent)
        tracking.log_metrics("adaptation", {"usable": len(lengths), "classes": len(labels)})
    tracking.log_file(path)
    return FileRef.of(path)


@step(role="train", experiment_tracker=True)
def learn_loras(
    labels: LabelSpace,
    photos: FileRef,
    generator: GeneratorConfig,
    adaptation: LoraConfig,
    probe: ProbeConfig,
    synthesis: SynthesisConfig,
    clip: ClipConfig,
    output: str,
) -> Annotated[FileRef, "loras"]:
    """loras.json: the LoRA of each class (the files lie in adapters/) and what the probe says of it. Images of a class whose LoRA
    is not usable will be made without one."""
    path = Path(output) / "loras.json"
    key = key_of(labels, photos, generator, probe, clip, adaptation=adaptation.model_dump(mode="json"))
    if not caching.is_current(path, key):
        small, whole = shots_of(labels, photos, generator, output)
        names = {label.name: label.prompt_name for label in labels.labels}
        log = lambda metrics, done: tracking.log_metrics("adaptation", metrics, done)  # noqa: E731
        folder = Path(output) / "adapters"
        loras = learn(generator, small, names, adaptation, folder, log)
        found = probe_loras(generator, loras, names, whole, folder, ClipScorer(clip), probe, synthesis)
        for name in sorted(loras.keys() - found.loras.keys()):
            print(f"warning: the LoRA learned for {name!r} is not used: {found.probes[name].reason}", file=sys.stderr)
        write_json(path, found.model_dump())
        caching.mark_current(path, key)
        forget_learning(folder)
        tracking.log_metrics("adaptation", {"usable_loras": len(found.loras), "classes": len(labels)})
    tracking.log_file(path)
    return FileRef.of(path)


def key_of(
    labels: LabelSpace,
    photos: FileRef,
    generator: GeneratorConfig,
    probe: ProbeConfig,
    clip: ClipConfig,
    **learning: object,
) -> str:
    """The result's key: the shots, the models and ``learning``, how they are learned from."""
    return caching.result_key(
        __name__,
        **learning,
        labels=labels.model_dump(mode="json"),
        photos=photos.sha256,
        generator=[generator.model_dump(mode="json"), caching.model_digest(generator.model), generator.adapters()],
        probe=[probe.model_dump(mode="json"), clip.model_dump(mode="json"), caching.model_digest(clip.model)],
    )


def shots_of(
    labels: LabelSpace, photos: FileRef, generator: GeneratorConfig, output: str
) -> tuple[dict[str, list[np.ndarray]], dict[str, Iterator[np.ndarray]]]:
    """Each class's photos at the generator's size, and, one at a time, at their own."""
    sources, size = Sources(Path(output) / "sources"), (generator.width, generator.height)
    shots: dict[str, list[str]] = {name: [] for name in labels.names}
    for row in pq.read_table(photos.open()).to_pylist():
        shots[row["label"]].append(row["image"])
    small = {name: [np.asarray(sources.image(shot, *size)) for shot in own] for name, own in shots.items()}
    return small, {name: (np.asarray(sources.read(shot)) for shot in own) for name, own in shots.items()}
