"""What the user may choose: which pictures a plan asks for (the generator), and how they are made (the synthesis)."""

from typing import Any, Literal

from figment.types import Count, Guidance, InferenceSteps, LatentSide, ModelName, NonNegative, Positive, Settings


class GeneratorConfig(Settings):
    """Any diffusers text-to-image model: a hub id with a pinned revision, or a local folder. All of it enters the plan."""

    model: ModelName  # hub id or folder
    revision: str = "main"  # of a hub id; a local folder's revision is the hash of its content
    width: LatentSide = 512
    height: LatentSide = 512
    guidance_scale: Guidance = 7.5
    num_inference_steps: InferenceSteps = 40
    scheduler: str | None = None  # a scheduler class of diffusers; by default the model's own
    long_prompts: bool = (
        False  # prompts over the text encoder's length are read in parts, not cut: Stable Diffusion 1, 2, XL
    )

    def columns(self, revision: str) -> dict[str, Any]:
        """The fields of a plan's ``Row`` that this decides; ``revision`` is the commit or content hash in place of its own. A
        trick may choose another guidance scale."""
        from figment.synthesis.model_configs import own_scheduler  # and with it torch, which takes seconds

        scheduler = self.scheduler or own_scheduler(self.model, revision)
        return self.model_dump() | {"revision": revision, "scheduler": scheduler}


class SynthesisConfig(Settings):
    """How a plan is rendered. dtype and image_format touch the pixels but not an image's id, so a pool has one of each."""

    batch_size: Count = 16  # halved, and remembered, when memory runs out
    shard_size: Count = 512  # planned images in one Parquet file; what a crash can lose
    image_format: Literal["jpeg", "png", "webp"] = "jpeg"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    device: str = "auto"  # auto: cuda, mps or cpu, whichever is there
    lanes: Count | None = None  # batches under way at once; by default 1 on a GPU, one a core on a CPU
    channels_last: bool | None = None  # by default on a GPU only
    offload: Literal["none", "model", "group"] = (
        "none"  # off the GPU while idle: whole networks, or parts of each (slower)
    )
    compile: bool = False  # torch.compile of the denoiser's repeated blocks; worth it for hours of work
    vae_slicing: bool = False  # decode one picture at a time: less memory, a little slower
    workers: Count = 1  # processes on this machine, one a GPU
    max_hours: Positive | None = None  # stop at a shard's end before this is exceeded; run again to go on
    max_images: Count | None = None  # likewise
    price_per_hour: NonNegative | None = None  # of this machine; the estimate then says what the work costs
