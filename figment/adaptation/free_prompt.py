"""``figment generate``: images of one prompt of one's own, which may say a learned word: ``a photo of a <bus> on a beach``."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figment.adaptation.adapters import imported_adapter
from figment.errors import InputError
from figment.files import atomic, sha256_file
from figment.images import encode
from figment.model_folders import read_tensors
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import Row, record_of
from figment.synthesis.adapter_files import place_loras
from figment.synthesis.concepts import concept_of
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.families import Requests
from figment.synthesis.generator import Generator, Inputs
from figment.synthesis.marking import xmp_packet
from figment.synthesis.weights import check_family, model_revision

SUFFIX = {"jpeg": "jpg", "png": "png", "webp": "webp"}


@dataclass(frozen=True)
class FreePrompt:
    """``count`` images of a text, drawn from ``seed``."""

    text: str
    negative: str = ""
    count: int = 1
    seed: int = 0


def generate(
    prompt: FreePrompt,
    generator: GeneratorConfig,
    synthesis: SynthesisConfig,
    folder: Path,
    adapter: Path | None = None,
) -> list[Path]:
    """The images in ``folder``, each named by its id; the same call gives the same files. ``adapter``: a file
    named by its hash, a run's folder or one that ``figment import`` wrote.

    Raises InputError for a word in angle brackets that no adapter holds, and as the generator does."""
    check_family(generator, Requests((generator.guidance_scale,), prompt.negative))
    file, words = _adapter(adapter) if adapter else (None, set())
    revision = model_revision(generator)
    rows = _rows(prompt, _word_in(prompt.text, words), generator.columns(revision, file.stem if file else ""))
    renderer = Generator(generator.model, revision, synthesis, Inputs(adapters=_together(file, generator, folder)))
    written = []
    for first in range(0, len(rows), synthesis.batch_size):
        part = rows[first : first + synthesis.batch_size]
        pixels = renderer.render(part).pixels.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for row, array in zip(part, pixels, strict=True):
            path = folder / f"{row['image_id']}.{SUFFIX[synthesis.image_format]}"
            with atomic(path) as partial:
                image = np.ascontiguousarray(array)
                partial.write_bytes(encode(image, synthesis.image_format, xmp_packet(row["image_id"])))
            written.append(path)
    return written


def _word_in(text: str, words: set[str]) -> str:
    """The learned word that a prompt says, "" if none. Raises InputError for one that is not among ``words``, and for several."""
    said = sorted(set(re.findall(r"<([^<>]+)>", text)))
    if strange := [word for word in said if word not in words]:
        known = ", ".join(sorted(words)) or "none"
        raise InputError(
            f"prompt {text!r}: no adapter holds the word {strange[0]!r}; its words are {known}; give --adapter"
        )
    if len(said) > 1:
        raise InputError(f"prompt {text!r}: says {len(said)} learned words; an image has one")
    return said[0] if said else ""


def _rows(prompt: FreePrompt, word: str, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        record_of(
            Row(
                prompt=prompt.text, negative_prompt=prompt.negative, labels=(word or "image",), recipe="generate",
                trick="prompt", stream=prompt.seed, replicate=number, concept=word, **columns,
            )
        )
        for number in range(prompt.count)
    ]  # fmt: skip


def _together(file: Path | None, generator: GeneratorConfig, folder: Path) -> Path | None:
    """The folder that holds the adapter's file and the generator's LoRAs: the file's own if there are none."""
    if not generator.loras:
        return file.parent if file else None
    adapters = folder / "adapters"
    place_loras(generator, adapters)
    if file:
        with atomic(adapters / file.name) as partial:
            shutil.copyfile(file, partial)
    return adapters


def _adapter(place: Path) -> tuple[Path, set[str]]:
    """An adapter's file, and the words that it holds."""
    if place.is_dir():
        file, tensors = imported_adapter(place, "--adapter")
    elif not place.is_file() or place.suffix != ".safetensors" or sha256_file(place) != place.stem:
        raise InputError(
            f"--adapter {place}: is no .safetensors file named by its hash; `figment import words` makes one"
        )
    else:
        file, tensors = place, read_tensors(place, "--adapter")
    return file, {found[1] for name in tensors if (found := concept_of(name))}
