"""What a few-shot method is: how images are made of photos, and how they are used beside them."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from figment.names import check_set_names
from figment.types import Guidance, Natural, Number, Settings, Share

Weighting = Literal["equal", "per_photo", "global", "reject"]


class Method(Settings):
    """What is made of every photo, and how it is used beside it. The defaults are the photos alone, augmented.

    For each image a prompt, a noise and a strength are drawn independently, so every combination may occur; the published
    code walks through prompts and noises side by side and meets half of the pairs (P8).
    """

    images: Natural = 0  # made of each photo (M)
    concepts: bool = False  # prompts say the word learned for the class, not its name
    # standard deviations added to the word's coordinates; as often none is added as one of them
    noise: tuple[Number, ...] = ()
    relative_noise: bool = False  # they are multiples of the word's length
    noise_once: bool = False  # one draw for all images of a class and deviation, as published; or a fresh one for each
    imported: bool = False  # learns from the imported images of a class, too: they are dealt to its photos in turn
    lora: bool = False  # made with the LoRA learned for the class; prompts say its name, or its word
    contexts: bool = False  # prompts are the language model's, not "a photo of a ..."
    # share of the noise schedule; DA-Fusion draws one of four
    strengths: tuple[Number, ...] = Field((0.7,), min_length=1)
    mask: bool = False  # only the photo's object is rendered, what is around it stays: data.masks
    invert: bool = False  # all but the object is
    guidance_scale: Guidance | None = None  # by default the generator's
    alpha: Share = 0.7  # how often a training item is a made image
    weights: Weighting = "equal"  # how often which: figment.planning.sample_weights
    reject_below: Number = Field(0.5, gt=0, le=1)  # the weight under which weights: reject takes an image out
    augment: bool = True  # random crop, flip, rotation of whatever is trained on

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.noise and not self.concepts:
            raise ValueError("noise is added to learned words; set concepts: true, or leave noise out")
        if any(sigma <= 0 for sigma in self.noise) or any(not 0 < s <= 1 for s in self.strengths):
            raise ValueError("noise must be above 0 (none is always among the choices), strengths in (0, 1]")
        if self.invert and not self.mask:
            raise ValueError("invert: true without mask; it says which side of the mask is rendered")
        return self

    @property
    def kind(self) -> str:
        """What prompts say; methods of one kind, strength and scale share their images."""
        words = ["concept" if self.concepts else "name"]
        words += ["noise"] if self.noise else []
        words += ["contexts"] if self.contexts else []
        words += ["background" if self.invert else "object"] if self.mask else []
        words += ["lora"] if self.lora else []
        return "_".join(words)


METHODS = {
    "standard": Method(),
    "da_fusion": Method(images=10, concepts=True),
    "all": Method(images=10, concepts=True, noise=(0.005, 0.01, 0.025), contexts=True, weights="per_photo"),
}


def check_names(methods: Mapping[str, Method]) -> None:
    """Raise InputError for a method's name that cannot name a folder, a metric and a row of the table."""
    check_set_names(methods, "methods")
