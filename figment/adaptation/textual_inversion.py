"""Textual inversion (Gal et al. 2022) of many classes at once: a pseudo-word for each, learned from a few photos of it.

DIAGen and DA-Fusion learn one class a run, each run loading the model, and keep gradients and optimiser state of the whole
embedding matrix for the sake of one row. Here the frozen model is loaded once, the classes share its passes, and nothing but
their own vectors has a gradient. A concept comes out the same whichever others are learned beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from figment.adaptation.adapters import imported_adapter, save_adapter
from figment.adaptation.concept_learning import Learning
from figment.adaptation.config import InversionConfig, ProbeConfig
from figment.adaptation.denoising import Photos
from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipScorer
from figment.errors import InputError
from figment.files import write_json
from figment.images import squash
from figment.labels import LabelSpace
from figment.loop import Log, fit
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import Row, record_of
from figment.planning.words import Words
from figment.synthesis.adapter_files import place_loras
from figment.synthesis.batches import batch_key
from figment.synthesis.concepts import concept_of, placeholder, tensor_name
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.weights import model_revision


def learn_concepts(
    generator: GeneratorConfig,
    photos: Photos,
    names: Mapping[str, str],
    config: InversionConfig,
    folder: Path,
    log: Log = lambda step, row: None,
) -> Path:
    """Learn a pseudo-word for every class of ``photos``, (H, W, 3) uint8 RGB of any size; ``<folder>/<sha256>.safetensors``.

    ``names`` gives each class's prompt name. Photos are squashed to the generator's width and height. An interrupted call
    goes on when it is repeated, and ends with the same file; one that has ended learns nothing again either, until
    ``forget_learning``. ``log`` receives (step, {loss, skipped}).
    Raises InputError for photos that are none, for a model that takes no learned words, and for a loss that is no number.
    """
    check_photos(photos, names)
    learning = Learning(generator, photos, names, config)
    fit(learning, Checkpoint(folder / f".learning-{learning.key[:16]}.pt", learning.key), log)
    for name, count in learning.skipped.items():
        if count == config.steps:
            raise InputError(
                f"concept {name!r}: its loss was never a number; set adaptation.inversion.dtype to float32, or look at its photos"
            )
    return learning.write(folder)


def imported_words(space: LabelSpace, source: Path, folder: Path) -> Path:
    """The words of ``space``'s classes in a folder of ``figment import words``, under the classes' names, as an adapter in
    ``folder``. Raises InputError for a class without a word."""
    where = "adaptation.inversion.imported"
    _, tensors = imported_adapter(source, where)
    kept: dict[str, Tensor] = {}
    for name, vectors in tensors.items():
        encoder, word = concept_of(name) or ("", "")
        label = space.id_of(word) if encoder else None
        if label is not None:
            kept[tensor_name(encoder, space.names[label])] = vectors
    absent = [name for name in space.names if tensor_name("text_encoder", name) not in kept]
    if absent:
        raise InputError(f"{where}: {source}: no word for {', '.join(absent[:5])}; import one for each class")
    return folder / f"{save_adapter(kept, folder, {'imported': str(source)})}.safetensors"


def forget_learning(folder: Path) -> None:
    """Remove what ``learn_concepts`` resumes from in ``folder``, once its words are not asked for again."""
    for state in folder.glob(".learning-*"):
        state.unlink(missing_ok=True)


def check_photos(photos: Photos, names: Mapping[str, str]) -> None:
    """Raise InputError for a class without photos or a prompt name, and for photos that are no (H, W, 3) uint8."""
    if not photos:
        raise InputError("concepts: no class has photos; give a few of each")
    for name, images in photos.items():
        if not names.get(name):
            raise InputError(f"concept {name!r}: has no prompt name; names gives one for each class")
        if set("<>") & set(name):
            raise InputError(f"concept {name!r}: prompts say it in angle brackets; choose a name without any")
        if not len(images):
            raise InputError(f"concept {name!r}: has no photos; give a few")
        for i, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError(
                    f"concept {name!r}: photo {i} is {image.dtype} {image.shape}; expected uint8 (height, width, 3)"
                )


class ConceptProbe(BaseModel):
    """What a concept's images look like to CLIP, beside the photos that it was learned from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    similarity: float  # mean cosine between its images and its photos
    retrieval: float  # share of its images that are nearer to its own photos' mean than to any other class's
    usable: bool
    reason: str


class WordsFile(BaseModel):
    """What ``words.json`` holds: the usable words, and by class name how each learned one was probed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learned: ClassVar[str] = "word"

    words: Words
    probes: dict[str, ConceptProbe]

    @property
    def metrics(self) -> dict[str, float]:
        return {"usable": len(self.words.lengths), "classes": len(self.probes)}


@dataclass(frozen=True)
class Probing:
    """How what was learned is tried out: by a few images of every class of ``photos``, each of which is asked for once."""

    generator: GeneratorConfig
    photos: Mapping[str, Iterable[np.ndarray]]
    scorer: ClipScorer
    config: ProbeConfig
    synthesis: SynthesisConfig


def probe_concepts(adapter: Path, probing: Probing) -> dict[str, ConceptProbe]:
    """Render a few images of every class by its concept in the file ``adapter`` and compare them with the photos; a table of the
    results as ``<sha256>.probe.json`` beside the file."""
    rows = {
        name: {
            "prompt": probing.config.template.replace("{name}", placeholder(name)), "adapter": adapter.stem, "concept": name
        }
        for name in probing.photos
    }  # fmt: skip
    probes = probe_adapters(rows, adapter.parent, probing)
    write_json(adapter.with_suffix(".probe.json"), {name: probe.model_dump() for name, probe in probes.items()})
    return probes


def probe_adapters(rows: Mapping[str, Mapping[str, str]], folder: Path, probing: Probing) -> dict[str, ConceptProbe]:
    """By class: a few images of a plan row with these fields (prompt, adapter, ...), whose adapters lie in ``folder``, compared
    with the class's photos."""
    generator, photos, scorer, config = probing.generator, probing.photos, probing.scorer, probing.config
    names, batch_size = sorted(photos), probing.synthesis.batch_size
    revision = model_revision(generator)
    place_loras(generator, folder)
    renderer = Generator(generator.model, revision, probing.synthesis, Inputs(adapters=folder))
    made_of = {name: generator.columns(revision, rows[name]["adapter"]) for name in names}
    planned = [
        record_of(
            Row(
                labels=(name,), recipe="few_shot", trick="probe", stream=config.seed, replicate=i,
                **{**rows[name], **made_of[name]},
            )
        )
        for name in names
        for i in range(config.images)
    ]  # fmt: skip
    parts = [list(part) for _, part in groupby(planned, batch_key)]
    batches = [part[i : i + batch_size] for part in parts for i in range(0, len(part), batch_size)]
    made = torch.cat([scorer.image_features(renderer.render(batch).pixels) for batch in batches]).unflatten(
        0, (len(names), -1)
    )
    own = [_features(photos[name], scorer) for name in names]
    centres = torch.stack([F.normalize(features.mean(0), dim=0) for features in own])
    return {
        name: _judge(i, names, (made[i] @ own[i].t()).mean().item(), made[i] @ centres.t(), config)
        for i, name in enumerate(names)
    }


def _features(images: Iterable[np.ndarray], scorer: ClipScorer) -> Tensor:
    """(N, D) CLIP features of images of any size, squashed as they were for learning."""
    return scorer.image_features(torch.stack([squash(Image.fromarray(image), scorer.size) for image in images]))


def _judge(own: int, names: Sequence[str], similarity: float, nearness: Tensor, config: ProbeConfig) -> ConceptProbe:
    """From the similarity (N, C) of a concept's N images to the mean photo of each class."""
    counts = nearness.argmax(1).bincount(minlength=len(names))
    hits, total = int(counts[own]), int(counts.sum())
    usable = hits >= config.retrieval * total
    reason = f"{hits} of {total} images are nearest to its own photos"
    if hits < total:
        counts[own] = 0
        rival = int(counts.argmax())
        reason += f", {int(counts[rival])} to those of {names[rival]!r}"
    if not usable:
        reason += "; learn it longer, from its name, or from other photos"
    return ConceptProbe(similarity=similarity, retrieval=hits / total, usable=usable, reason=reason)
