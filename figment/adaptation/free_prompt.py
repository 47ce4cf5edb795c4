"""``figment generate``: images of one prompt of one's own, which may say a learned word: ``a photo of a <bus> on a beach``."""

import re
import shutil
from pathlib import Path

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


def generate(
    prompt: str,
    generator: GeneratorConfig,
    synthesis: SynthesisConfig,
    folder: Path,
    adapter: Path | None = None,
    count: int = 1,
    seed: int = 0,
    negative_prompt: str = "",
) -> list[Path]:
    """``count`` images of ``prompt`` in ``folder``, each named by its id; the same call gives the same files. ``adapter``: a file
    named by its hash, a run's folder or one that ``figment import`` wrote.

    Raises InputError for a word in angle brackets that no adapter holds, and as the generator does."""
    check_family(generator, Requests((generator.guidance_scale,), negative_prompt))
    file, words = _adapter(adapter) if adapter else (None, set())
    said = set(re.findall(r"<([^<>]+)>", prompt))
    known = ", ".join(sorted(words)) or "none"
    if strange := sorted(said - words):
        raise InputError(
            f"prompt {prompt!r}: no adapter holds the word {strange[0]!r}; its words are {known}; give --adapter"
        )
    if len(said) > 1:
        raise InputError(f"prompt {prompt!r}: says {len(said)} learned words; an image has one")
    revision = model_revision(generator)
    rows = [
        record_of(
            Row(
                prompt=prompt, negative_prompt=negative_prompt, labels=(next(iter(said), "image"),), recipe="generate",
                trick="prompt", stream=seed, replicate=number, concept=next(iter(said), ""),
                **generator.columns(revision, file.stem if file else ""),
            )
        )
        for number in range(count)
    ]  # fmt: skip
    adapters = file.parent if file else None
    if generator.loras:  # which lie together with the other adapters
        adapters = folder / "adapters"
        place_loras(generator, adapters)
        if file:
            with atomic(adapters / file.name) as partial:
                shutil.copyfile(file, partial)
    renderer = Generator(generator.model, revision, synthesis, Inputs(adapters=adapters))
    written = []
    for first in range(0, count, synthesis.batch_size):
        part = rows[first : first + synthesis.batch_size]
        pixels = renderer.render(part).pixels.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for row, array in zip(part, pixels, strict=True):
            path = folder / f"{row['image_id']}.{SUFFIX[synthesis.image_format]}"
            with atomic(path) as partial:
                image = np.ascontiguousarray(array)
                partial.write_bytes(encode(image, synthesis.image_format, xmp_packet(row["image_id"])))
            written.append(path)
    return written


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
