"""How a plan is rendered."""

from importlib.util import find_spec
from typing import Literal

from pydantic import model_validator

from figment.types import Count, NonNegative, PathText, Positive, Settings


class SynthesisConfig(Settings):
    """How a plan is rendered. dtype, quantise and image_format touch the pixels but not an image's id, so a pool has one
    of each."""

    batch_size: Count = 16  # halved, and remembered, when memory runs out
    shard_size: Count = 512  # planned images in one Parquet file; what a crash can lose
    image_format: Literal["jpeg", "png", "webp"] = "jpeg"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    # weights of the denoiser in 8 bits (torchao), or in 8 or 4 (bitsandbytes): less memory, other pixels
    quantise: Literal["none", "int8", "bnb8", "nf4"] = "none"
    device: str = "auto"  # auto: cuda, mps or cpu, whichever is there
    lanes: Count | None = None  # batches under way at once; by default 1 on a GPU, one a core on a CPU
    channels_last: bool | None = None  # by default on a GPU only
    # off the GPU while idle: whole networks, or parts of each (slower)
    offload: Literal["none", "model", "group"] = "none"
    compile: bool = False  # torch.compile of the denoiser's repeated blocks; worth it for hours of work
    vae_slicing: bool = False  # decode one image at a time: less memory, a little slower
    # images/ of other runs: what they have rendered and this plan asks for, too, is copied
    reuse: tuple[PathText, ...] = ()
    # this process; or Ray's actors, on this machine or the cluster of RAY_ADDRESS
    engine: Literal["local", "ray"] = "local"
    workers: Count | None = None  # of Ray: actors, by default one a GPU of the cluster
    max_hours: Positive | None = None  # stop at a shard's end before this is exceeded; run again to go on
    max_images: Count | None = None  # likewise
    price_per_hour: NonNegative | None = None  # of this machine; the estimate then says what the work costs

    @model_validator(mode="after")
    def _is_there(self) -> "SynthesisConfig":
        if self.engine == "local" and (self.workers or 1) > 1:
            raise ValueError(f"workers: {self.workers} processes are Ray's; set engine: ray, or leave workers out")
        if self.engine == "ray" and not find_spec("ray"):
            raise ValueError("engine: ray is not installed; pip install 'figment[ray]', or take engine: local")
        return self
