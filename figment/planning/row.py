"""A row decides one image: its id is the SHA-256 of its canonical JSON, and its noise seed derives from that id."""

from typing import Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from figment.files import digest

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("negative_prompt", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("recipe", pa.string()),
        ("trick", pa.string()),
        ("domain", pa.string()),
        ("guidance_scale", pa.float64()),
        ("num_inference_steps", pa.int32()),
        ("scheduler", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("adapter", pa.string()),
        ("stream", pa.int64()),
        ("replicate", pa.int32()),
        ("strength", pa.float64()),
        ("initial_image", pa.string()),
        ("concept", pa.string()),
        ("noise", pa.float64()),
        ("shared_noise", pa.string()),
        ("noise_draw", pa.string()),
        ("long_prompts", pa.bool_()),
        ("round", pa.int32()),
        ("parent", pa.string()),
        ("mask", pa.string()),
    ]
)

# Columns that came after images had been rendered: they count only where they differ from their default, so that the
# ids of older rows stand. A new column belongs here.
ADDED_LATER = (
    "strength", "initial_image", "concept", "noise", "shared_noise", "noise_draw", "long_prompts", "round", "parent",
    "mask",
)  # fmt: skip


# What ``model`` begins with where no generator of ours made the image; behind it stands the kind that was imported.
IMPORTED = "imported:"
MULTIPLE = 8  # of the sides of what a latent diffusion model renders


class Row(BaseModel):
    """What decides one image. ``stream`` is the config's seed: another stream is another, independent set of images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    recipe: str
    trick: str
    model: str
    revision: str
    width: int = Field(gt=0)  # of what is rendered a multiple of 8
    height: int = Field(gt=0)
    guidance_scale: float = Field(ge=0, allow_inf_nan=False)
    num_inference_steps: int = Field(gt=0)
    scheduler: str
    stream: int
    replicate: int = Field(ge=0)
    negative_prompt: str = ""
    domain: str = ""
    adapter: str = ""  # files that change the generator, by their SHA-256: figment.planning.adapters
    strength: float = Field(1.0, gt=0, le=1)  # image-to-image: the share of the noise schedule that is run again
    initial_image: str = ""  # image-to-image: SHA-256 of the source image's file
    concept: str = ""  # a learned word of the adapter, which the prompt says in angle brackets: "a photo of a <bus>"
    noise: float = Field(0.0, ge=0, allow_inf_nan=False)  # standard deviation added to the concept's vectors
    shared_noise: str = ""  # rows with the same word here start from the same noise; by default each has its own
    noise_draw: str = ""  # rows with the same word here add the same draw to a concept; by default each has its own
    long_prompts: bool = False  # a prompt over the text encoder's length is read in parts, not cut
    round: int = Field(0, ge=0)  # that asked for it after a training (figment.planning.rounds); 0: the first plan
    parent: str = ""  # of a round: SHA-256 of the list of images that the classifier before it was trained on
    mask: str = ""  # image-to-image: SHA-256 of a file, white where the image is rendered; elsewhere it stays as it is

    @model_validator(mode="after")
    def _mode(self) -> Self:
        if (self.width % MULTIPLE or self.height % MULTIPLE) and not self.model.startswith(IMPORTED):
            raise ValueError(
                f"{self.width} x {self.height} px; what is rendered has sides that are multiples of {MULTIPLE}"
            )
        if self.strength < 1 and not self.initial_image:
            raise ValueError(f"strength {self.strength} without initial_image; a strength needs an image to start from")
        if self.mask and not self.initial_image:
            raise ValueError("mask without initial_image; a mask says which part of an image is rendered")
        if int(self.num_inference_steps * self.strength) < 1:
            raise ValueError(f"strength {self.strength} of {self.num_inference_steps} steps is none; raise either")
        if self.noise and not self.concept:
            raise ValueError(f"noise {self.noise} without concept; noise is added to a concept's vectors")
        if self.noise_draw and not self.noise:
            raise ValueError(f"noise_draw {self.noise_draw!r} without noise; it says which rows share a draw of it")
        return self

    @property
    def image_id(self) -> str:
        """SHA-256 (hex) of the row's canonical JSON."""
        values = self.model_dump(mode="json")
        for name in ADDED_LATER:
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        return digest(values)


def seed_of(image_id: str) -> int:
    """The noise seed that an id stands for: its first 63 bits."""
    return int(image_id[:16], 16) >> 1


def record_of(row: Row) -> dict:
    """The row as a record of the plan table, with its id and seed."""
    image_id = row.image_id
    seed = seed_of(digest(row.shared_noise) if row.shared_noise else image_id)
    return {"image_id": image_id, "seed": seed, **row.model_dump()}


def row_of(record: dict) -> Row:
    """The row that a record of the plan table was made of."""
    return Row(**{name: record[name] for name in Row.model_fields})
