"""Which generator a plan asks, and with which settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from figment.planning.adapters import join_adapters, lora_adapter
from figment.types import Guidance, InferenceSteps, LatentSide, ModelName, Number, PathText, Settings


class LoraFile(Settings):
    """A LoRA of diffusers or kohya (``*.safetensors``), or a folder of peft, and how much of it is added to the model."""

    file: PathText
    weight: Number = 1.0


class GeneratorConfig(Settings):
    """Any diffusers text-to-image model: a hub id with a pinned revision, or a local folder. All of it enters the plan."""

    model: ModelName  # hub id or folder
    revision: str = "main"  # of a hub id; a local folder's revision is the hash of its content
    width: LatentSide = 512
    height: LatentSide = 512
    guidance_scale: Guidance = 7.5
    num_inference_steps: InferenceSteps = 40
    scheduler: str | None = None  # a scheduler class of diffusers; by default the model's own
    # prompts over the text encoder's length are read in parts, not cut: Stable Diffusion 1, 2, XL
    long_prompts: bool = False
    loras: tuple[LoraFile, ...] = ()  # added to the model, all at once

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        files = [lora.file for lora in self.loras]
        if twice := next((file for file in files if files.count(file) > 1), ""):
            raise ValueError(f"loras names {twice!r} twice; give it once, with the sum of its weights")
        return self

    def columns(self, revision: str, adapter: str = "") -> dict[str, Any]:
        """The fields of a plan's ``Row`` that this decides; ``revision`` is the commit or content hash in place of its own,
        ``adapter`` what the rows have beside the generator's LoRAs. A trick may choose another guidance scale."""
        from figment.model_configs import own_scheduler  # and with it torch, which takes seconds

        scheduler = self.scheduler or own_scheduler(self.model, revision)
        named = {"revision": revision, "scheduler": scheduler, "adapter": join_adapters(adapter, *self.adapters())}
        return self.model_dump(exclude={"loras"}) | named

    def adapters(self) -> list[str]:
        """Its LoRAs, as rows name them. Raises InputError for one that is not there."""
        if not self.loras:
            return []
        from figment.model_loaders.lora import lora_name

        return [
            lora_adapter(lora_name(Path(lora.file), f"generator.loras[{i}].file"), lora.weight)
            for i, lora in enumerate(self.loras)
        ]


@dataclass(frozen=True)
class Origin:
    """What all rows of a plan have in common: the generator at its pinned ``revision``, the run's seed, the recipe, which is part
    of an image's identity, and the hash of what was tuned."""

    generator: GeneratorConfig
    revision: str
    stream: int
    recipe: str
    adapter: str = ""
    negative_prompt: str = ""

    def columns(self, *adapters: str) -> dict[str, Any]:
        """These fields of a ``Row`` that is made with some adapters more."""
        own = {name: getattr(self, name) for name in ("stream", "recipe", "negative_prompt")}
        return own | self.generator.columns(self.revision, join_adapters(*adapters, self.adapter))


DEFAULT_GENERATOR = GeneratorConfig(model="stable-diffusion-v1-5/stable-diffusion-v1-5")
