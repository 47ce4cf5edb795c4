"""What the user may choose about a classifier's training."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingConfig(BaseModel):
    """Any timm model, from random weights. The paper's recipe: AdamW 2e-4, cosine, 200 epochs, batch 128."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "resnet50"
    stem: Literal["native", "small"] = "native"  # small: stride 1 and no pooling, for pictures of 32-64 px
    image_size: int = Field(32, gt=0)
    epochs: int = Field(200, gt=0)
    steps: int | None = Field(None, gt=0)  # if given, replaces epochs: every set then gets the same number of updates
    batch_size: int = Field(128, gt=1)
    learning_rate: float = Field(2e-4, gt=0)
    weight_decay: float = Field(0.9, ge=0)
    crop_scale: float = Field(0.08, gt=0, le=1)  # smallest area of a random resized crop
    color_jitter: float = Field(0.0, ge=0, le=1)
    flip: bool = True
    seed: int = 0
    device: str = "auto"
