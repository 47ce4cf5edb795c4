"""Planner of few-shot recipes: pictures made from each photo, image to image. Real Guidance (He et al. 2023), DA-Fusion
(Trabucco et al. 2024) and DIAGen (2024) are values of the same few fields.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from figment.files import digest
from figment.labels import Label
from figment.names import check_set_names
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import Row
from figment.planning.sample_weights import Weighting
from figment.prompts.contexts import NAME, PLAIN, Contexts
from figment.types import Guidance, Natural, Number, Settings, Share

RECIPE = "few_shot"
T = TypeVar("T")


class Method(Settings):
    """What is made of every photo, and how it is used beside it. The defaults are the photos alone, augmented.

    For each picture a prompt, a noise and a strength are drawn independently, so every combination may occur; the published
    code walks through prompts and noises side by side and meets half of the pairs (P8).
    """

    images: Natural = 0  # made of each photo (M)
    concepts: bool = False  # prompts say the word learnt for the class, not its name
    # standard deviations added to the word's coordinates; as often none is added as one of them
    noise: tuple[Number, ...] = ()
    relative_noise: bool = False  # they are multiples of the word's length
    noise_once: bool = (
        False  # one draw for all pictures of a class and deviation, as published; or a fresh one for each
    )
    contexts: bool = False  # prompts are the language model's, not "a photo of a ..."
    # share of the noise schedule; DA-Fusion draws one of four
    strengths: tuple[Number, ...] = Field((0.7,), min_length=1)
    guidance_scale: Guidance | None = None  # by default the generator's
    alpha: Share = 0.7  # how often a training item is a made picture
    weights: Weighting = "equal"  # how often which: figment.planning.sample_weights
    reject_below: Number = Field(0.5, gt=0, le=1)  # the weight under which weights: reject takes a picture out
    augment: bool = True  # random crop, flip, rotation of whatever is trained on

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.noise and not self.concepts:
            raise ValueError("noise is added to learnt words; set concepts: true, or leave noise out")
        if any(sigma <= 0 for sigma in self.noise) or any(not 0 < s <= 1 for s in self.strengths):
            raise ValueError("noise must be above 0 (none is always among the choices), strengths in (0, 1]")
        return self

    @property
    def kind(self) -> str:
        """What prompts say; methods of one kind, strength and scale share their pictures."""
        words = ["concept" if self.concepts else "name"]
        words += ["noise"] if self.noise else []
        words += ["contexts"] if self.contexts else []
        return "_".join(words)


def check_names(methods: Mapping[str, Method]) -> None:
    """Raise InputError for a method's name that cannot name a folder, a metric and a row of the table."""
    check_set_names(methods, "methods")


@dataclass(frozen=True)
class Shot:
    """A photo by the SHA-256 of its file in ``sources/``."""

    image: str
    label: Label


@dataclass(frozen=True)
class Words:
    """Learnt words: the SHA-256 of the adapter file that holds them, and the mean length of each usable one's vectors by
    class name. Prompts of a class without one say its name."""

    adapter: str = ""
    lengths: Mapping[str, float] = field(default_factory=dict)


def plan_few_shot(
    shots: Sequence[Shot],
    method: Method,
    contexts: Contexts,
    words: Words,
    generator: GeneratorConfig,
    revision: str,
    stream: int,
) -> Iterator[Row]:
    """``method.images`` rows for each photo, photo by photo. What is drawn for a picture depends on its own photo and number
    alone: more photos, or more pictures of each, add rows and change none."""
    for shot in shots:
        name = shot.label.name
        prompts = contexts[name] if method.contexts else (PLAIN,)
        word = name if method.concepts and name in words.lengths else ""
        sigmas = (0.0, *method.noise) if word else (0.0,)
        unit = words.lengths[name] if word and method.relative_noise else 1.0
        for replicate in range(method.images):
            rng = np.random.default_rng(int(digest([stream, method.kind, name, shot.image, replicate])[:16], 16))
            prompt, sigma, strength = _pick(prompts, rng), _pick(sigmas, rng), _pick(method.strengths, rng)
            scale = {} if method.guidance_scale is None else {"guidance_scale": method.guidance_scale}
            yield Row(
                prompt=prompt.replace(NAME, f"<{word}>" if word else shot.label.prompt_name),
                labels=(name,),
                recipe=RECIPE,
                trick=method.kind,
                stream=stream,
                replicate=replicate,
                strength=strength,
                initial_image=shot.image,
                adapter=words.adapter if word else "",
                concept=word,
                noise=sigma * unit,
                noise_draw="once" if sigma and method.noise_once else "",
                **generator.columns(revision) | scale,
            )


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
