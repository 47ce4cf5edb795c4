"""Which generator a plan asks, and with which settings."""

from typing import Any

from figment.types import Guidance, InferenceSteps, LatentSide, ModelName, Settings


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
        from figment.model_configs import own_scheduler  # and with it torch, which takes seconds

        scheduler = self.scheduler or own_scheduler(self.model, revision)
        return self.model_dump() | {"revision": revision, "scheduler": scheduler}


DEFAULT_GENERATOR = GeneratorConfig(model="stable-diffusion-v1-5/stable-diffusion-v1-5")
