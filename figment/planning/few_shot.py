"""Planner of few-shot recipes: images made from each photo, image to image. Real Guidance (He et al. 2023), DA-Fusion
(Trabucco et al. 2024) and DIAGen (2024) are values of the same few fields.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from figment.files import digest
from figment.labels import Label
from figment.planning.generator_config import Origin
from figment.planning.methods import Method
from figment.planning.row import Row
from figment.planning.words import Words
from figment.prompts.contexts import NAME, PLAIN, Contexts

RECIPE = "few_shot"
T = TypeVar("T")


@dataclass(frozen=True)
class Shot:
    """A photo by the SHA-256 of its file in ``sources/``, and, where masks were given, the files there that are white on its
    object and on its background."""

    image: str
    label: Label
    object: str = ""
    background: str = ""


def plan_few_shot(
    shots: Sequence[Shot],
    method: Method,
    contexts: Contexts,
    words: Words,
    origin: Origin,
) -> Iterator[Row]:
    """``method.images`` rows for each photo, photo by photo. What is drawn for an image depends on its own photo and number
    alone: more photos, or more images of each, add rows and change none."""
    for shot in shots:
        name = shot.label.name
        prompts = contexts[name] if method.contexts and method.images else (PLAIN,)
        word = name if method.concepts and name in words.lengths else ""
        sigmas = (0.0, *method.noise) if word else (0.0,)
        unit = words.lengths[name] if word and method.relative_noise else 1.0
        for replicate in range(method.images):
            rng = np.random.default_rng(int(digest([origin.stream, method.kind, name, shot.image, replicate])[:16], 16))
            prompt, sigma, strength = _pick(prompts, rng), _pick(sigmas, rng), _pick(method.strengths, rng)
            lora = words.loras.get(name, "") if method.lora else ""
            scale = {} if method.guidance_scale is None else {"guidance_scale": method.guidance_scale}
            yield Row(
                prompt=prompt.replace(NAME, f"<{word}>" if word else shot.label.prompt_name),
                labels=(name,),
                trick=method.kind,
                replicate=replicate,
                strength=strength,
                initial_image=shot.image,
                mask=(shot.background if method.invert else shot.object) if method.mask else "",
                concept=word,
                noise=sigma * unit,
                noise_draw="once" if sigma and method.noise_once else "",
                **origin.columns(words.adapter if word else "", lora) | scale,
            )


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
