"""What the user may choose about the adaptation of a generator: tuning it, and learning words."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from figment.types import (
    Count,
    InferenceSteps,
    LatentSide,
    NonNegative,
    Number,
    PathText,
    Positive,
    Seed,
    Settings,
    Share,
)

if TYPE_CHECKING:
    from figment.adaptation.stage import Job, Material


class TuningConfig(Settings):
    """The defaults are the paper's for MS-COCO; for NUS-WIDE it takes 26,000 steps."""

    # The folder of `figment import text-encoder`: its encoder is measured and used, and nothing is tuned
    imported: PathText | None = None
    steps: Count = 4000
    batch_size: Count = 1  # images a step
    learning_rate: Positive = 7e-8
    weight_decay: NonNegative = 1e-3
    max_gradient_norm: Positive = 1.0
    gamma_neg: NonNegative = 4  # focusing exponents of the asymmetric loss
    gamma_pos: NonNegative = 0
    eps: Number = Field(
        1e-30, gt=0, lt=1
    )  # the least probability whose logarithm it takes; below it nothing is learned
    width: LatentSide = 560
    height: LatentSide = 560
    num_inference_steps: InferenceSteps = 30
    differentiated_steps: Count | None = None  # the sampler's last k; all by default
    checkpointing: bool = True  # the memory of one sampler step instead of all, for one forward pass more
    held_out: float = Field(
        0.1, gt=0, lt=0.5
    )  # share of the prompts that chooses the checkpoint, and of those that measure it
    evaluate_every: Count = 200  # steps
    evaluated_images: Count = 256  # images of the held-out prompts at each evaluation
    evaluation_batch: Count = 16
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of all but the text encoder: float32
    device: str = "auto"
    seed: Seed = 0


TEMPLATES = (
    "a photo of a {name}", "a photo of the {name}", "a close-up photo of a {name}", "a cropped photo of the {name}",
    "a bright photo of a {name}", "a dark photo of the {name}", "a photo of one {name}", "a good photo of a {name}",
)  # fmt: skip


def one_name_each(templates: tuple[str, ...]) -> tuple[str, ...]:
    """Raise ValueError for a template that does not say {name} once."""
    for template in templates:
        if template.count("{name}") != 1:
            raise ValueError(f"template {template!r} must say {{name}} once")
    return templates


class PhotoLearning(Settings):
    """What learning words and learning LoRAs from a few photos of each class have in common."""

    batch_size: Count = 4  # images of each concept, or of a LoRA, in a step
    templates: tuple[str, ...] = Field(TEMPLATES, min_length=1)
    flip: Share = 0.5  # probability that a photo is mirrored
    seed: Seed = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of the frozen model; what is learned is float32
    device: str = "auto"

    _one_name_each = field_validator("templates")(one_name_each)


class InversionConfig(PhotoLearning):
    """How concepts are learned. DIAGen's own: 1000 steps of 4 images, rate 2e-3, one vector, from a neutral word."""

    # The folder of `figment import words`: its words are tried out and used, and none is learned
    imported: PathText | None = None
    steps: Count = 1000
    max_batch: int = Field(
        32, gt=0
    )  # images in one pass of the network, of all concepts together; decides memory alone
    learning_rate: Positive = 2e-3
    vectors: Count = 1  # per concept
    # share of the steps, the last, whose vectors are averaged; 0: as published
    average: Number = Field(0.5, ge=0, lt=1)
    initialise: Literal["name", "neutral"] = "name"  # from the words of the class's prompt name, or from "the"


class LoraConfig(PhotoLearning):
    """How LoRAs are learned from a few photos of each class: by default one a class, of the denoiser's attention alone."""

    per: Literal["class", "all"] = "class"  # one LoRA for each class, or one for all of them
    steps: Count = 500  # of each LoRA
    learning_rate: Positive = 1e-4
    weight_decay: NonNegative = 0.01
    rank: Count = 16
    alpha: Positive | None = None  # the LoRA is scaled by alpha / rank; by default 1
    text_encoder: bool = False  # the text encoders' attention learns too
    weight: Number = 1.0  # with which a plan's rows add it to the model


class ProbeConfig(Settings):
    """How concepts and LoRAs are tried out before a plan is built on them."""

    images: Count = 8  # of each class
    template: str = "a photo of a {name}"
    retrieval: Share = 0.5  # share of a concept's images that must be nearest to its own photos
    seed: Seed = 0


class TextEncoder(TuningConfig):
    """The generator's text encoder is tuned where CLIP rejects its images (Zhang et al. 2024)."""

    kind: Literal["text_encoder"] = "text_encoder"
    from_photos: ClassVar[bool] = False
    learns: ClassVar[str] = "the tuned text encoder"

    def job(self, material: "Material") -> "Job":
        from figment.adaptation.kinds import text_encoder

        return text_encoder.job(self.as_base(TuningConfig), material)


class TextualInversion(Settings):
    """A word is learned for each class from its photos (Gal et al. 2022, as DIAGen uses it), and tried out."""

    kind: Literal["textual_inversion"] = "textual_inversion"
    inversion: InversionConfig = InversionConfig()
    probe: ProbeConfig = ProbeConfig()
    from_photos: ClassVar[bool] = True
    learns: ClassVar[str] = "the learned words (prompts say the names of the classes)"

    def job(self, material: "Material") -> "Job":
        from figment.adaptation.kinds import textual_inversion

        return textual_inversion.job(self.inversion, self.probe, material)


class Lora(LoraConfig):
    """A LoRA is learned for each class from its photos, or one for all of them (Hu et al. 2021), and tried out."""

    kind: Literal["lora"] = "lora"
    probe: ProbeConfig = ProbeConfig()
    from_photos: ClassVar[bool] = True
    learns: ClassVar[str] = "the LoRAs of the classes"

    def job(self, material: "Material") -> "Job":
        from figment.adaptation.kinds import lora

        return lora.job(self.as_base(LoraConfig), self.probe, material)


class PhotoAdaptation(Settings):
    """Of a recipe whose methods say which of them is learned: words, LoRAs or both."""

    inversion: InversionConfig = InversionConfig()
    lora: LoraConfig = LoraConfig()
    probe: ProbeConfig = ProbeConfig()

    @property
    def kinds(self) -> tuple[TextualInversion, Lora]:
        return TextualInversion(inversion=self.inversion, probe=self.probe), Lora.of(self.lora, probe=self.probe)


Adaptation = Annotated[TextEncoder | TextualInversion | Lora, Field(discriminator="kind")]
