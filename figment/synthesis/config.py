"""What the user may choose about the generator."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GeneratorConfig(BaseModel):
    """Any diffusers text-to-image model: a hub id with a pinned revision, or a local folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str  # hub id or folder
    revision: str = "main"  # of a hub id; a local folder's revision is the hash of its content
    width: int = Field(512, gt=0, multiple_of=8)
    height: int = Field(512, gt=0, multiple_of=8)
    guidance_scale: float = Field(7.5, ge=0)
    num_inference_steps: int = Field(40, gt=0)
    scheduler: str = "DDIMScheduler"  # a scheduler class of diffusers
    batch_size: int = Field(16, gt=0)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    device: str = "auto"  # auto: cuda, mps or cpu, whichever is there
    image_format: Literal["jpeg", "png", "webp"] = "jpeg"
    shard_size: int = Field(512, gt=0)  # images in one Parquet file; what a crash can lose
