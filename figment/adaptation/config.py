"""What the user may choose about the tuning of a generator."""

from typing import Literal

from pydantic import Field

from figment.types import Count, InferenceSteps, LatentSide, NonNegative, Positive, Seed, Settings


class TuningConfig(Settings):
    """The defaults are the paper's for MS-COCO; for NUS-WIDE it takes 26,000 steps."""

    steps: Count = 4000
    batch_size: Count = 1  # pictures a step
    learning_rate: Positive = 7e-8
    weight_decay: NonNegative = 1e-3
    max_gradient_norm: Positive = 1.0
    width: LatentSide = 560
    height: LatentSide = 560
    num_inference_steps: InferenceSteps = 30
    differentiated_steps: Count | None = None  # the sampler's last k; all by default
    checkpointing: bool = True  # the memory of one sampler step instead of all, for one forward pass more
    held_out: float = Field(
        0.1, gt=0, lt=0.5
    )  # share of the prompts that chooses the checkpoint, and of those that measure it
    evaluate_every: Count = 200  # steps
    evaluated_images: Count = 256  # pictures of the held-out prompts at each evaluation
    evaluation_batch: Count = 16
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of all but the text encoder: float32
    device: str = "auto"
    seed: Seed = 0
