"""A resident diffusers pipeline that renders batches of plan rows."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image, DiffusionPipeline
from torch import Tensor

from figment.devices import choose_device
from figment.errors import InputError
from figment.labels import nearest
from figment.model_folders import one_sentence
from figment.model_loaders import open_pipeline
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.encoding import PromptEncoder
from figment.synthesis.sources import Sources
from figment.synthesis.weights import check_revision, is_local


class GuidanceVector(torch.Tensor):
    """A guidance scale per sample where diffusers expects one number: its pipelines compare it with 1, then multiply.

    A number would leave the type of what it multiplies alone; so does this.
    """

    def __gt__(self, other: Any) -> Any:
        return bool((self.as_subclass(torch.Tensor) > other).any())

    def __mul__(self, other: Any) -> Any:
        return (self.as_subclass(torch.Tensor) * other).to(other.dtype)


@dataclass(frozen=True)
class Inputs:
    """Where rows' adapters (``<sha256>.safetensors``) and initial images (``<sha256>``) lie."""

    adapters: Path | None = None
    sources: Path | None = None

    @classmethod
    def beside(cls, plan: Path) -> "Inputs":
        """The folders ``adapters/`` and ``sources/`` where the plan lies."""
        return cls(plan.parent / "adapters", plan.parent / "sources")


@dataclass(frozen=True)
class Rendering:
    """``pixels`` (B, 3, H, W) float in [0, 1] on the device, and which of them the pipeline's safety checker blanked."""

    pixels: Tensor
    unsafe: tuple[bool, ...]


def resolve_dtype(config: SynthesisConfig) -> torch.dtype:
    """The type that ``auto`` stands for on this device."""
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    return torch.bfloat16 if choose_device(config.device).type == "cuda" else torch.float32


class Generator:
    """Loads once; encodes each distinct prompt once; renders any mix of prompts, seeds and guidance scales in a batch."""

    def __init__(self, model: str, revision: str, config: SynthesisConfig, inputs: Inputs | None = None):
        check_revision(model, revision)
        self.config = config
        self.device = choose_device(config.device)
        pipeline = open_pipeline(model, resolve_dtype(config), None if is_local(model) else revision)
        self.pipeline: DiffusionPipeline = pipeline.to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)
        inputs = inputs or Inputs()
        self.sources = Sources(inputs.sources or Path("sources"))
        self.encode = PromptEncoder(self.pipeline, inputs.adapters)
        self._prepare_modules()
        self._derived: dict[tuple[str, bool], DiffusionPipeline] = {}

    @property
    def denoiser(self) -> torch.nn.Module:
        """The network that runs at every step: a UNet or a transformer."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def reads_guidance(self) -> bool:
        """Whether the scale is an input of the network, one number a call, as in Flux and in consistency models."""
        config = self.denoiser.config
        return bool(getattr(config, "guidance_embeds", False) or getattr(config, "time_cond_proj_dim", None))

    def lane(self) -> "Generator":
        """Another generator on the same weights and embeddings, for another thread: only the samplers are its own."""
        other = copy.copy(self)
        other._derived = {}
        return other

    def _prepare_modules(self) -> None:
        channels_last = self.config.channels_last
        if channels_last or (channels_last is None and self.device.type == "cuda"):
            for module in (self.denoiser, self.pipeline.vae):
                module.to(memory_format=torch.channels_last)
        if self.config.vae_slicing:
            self.pipeline.vae.enable_slicing()
        if self.config.compile:
            self.denoiser.compile_repeated_blocks(fullgraph=True)  # type: ignore[operator]

    @torch.inference_mode()
    def render(self, rows: Sequence[Mapping[str, Any]], full: int | None = None) -> Rendering:
        """Pictures of plan rows that agree in size, steps, scheduler, strength and in having an initial image or not.

        One CPU generator per image, seeded by its row, so a picture does not depend on its batch. Rows of guidance
        scale 1 or less skip the unconditional pass: they are rendered apart. With ``compile`` every batch is padded to
        ``full`` rows (by default the config's batch size), so that no new shape is ever compiled.
        """
        first = rows[0]
        full = full or self.config.batch_size
        pixels = torch.empty(len(rows), 3, first["height"], first["width"], device=self.device)
        unsafe = [False] * len(rows)
        for indices in self._groups(rows):
            group = [rows[i] for i in indices]
            missing = full - len(group) if self.config.compile else 0
            part = self._render(group + group[-1:] * max(0, missing))
            pixels[indices] = part.pixels[: len(group)]
            for i, flag in zip(indices, part.unsafe, strict=False):
                unsafe[i] = flag
        return Rendering(pixels, tuple(unsafe))

    def _groups(self, rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Indices of rows that can share a call: guided or not; of one guidance scale where the network reads it."""
        groups: dict[Any, list[int]] = {}
        for i, row in enumerate(rows):
            scale = row["guidance_scale"]
            groups.setdefault(scale if self.reads_guidance else scale > 1, []).append(i)
        return list(groups.values())

    def _render(self, rows: Sequence[Mapping[str, Any]]) -> Rendering:
        first = rows[0]
        pipeline = self._pipeline(first["scheduler"], bool(first["initial_image"]))
        guided = first["guidance_scale"] > 1 and bool(self.encode.negative) and not self.reads_guidance
        scales = torch.tensor([row["guidance_scale"] for row in rows], device=self.device)
        arguments: dict[str, Any] = {
            "guidance_scale": scales.view(-1, 1, 1, 1).as_subclass(GuidanceVector)
            if guided
            else first["guidance_scale"],
            "num_inference_steps": first["num_inference_steps"],
            "generator": [torch.Generator().manual_seed(row["seed"]) for row in rows],
            "output_type": "pt",
            "height": first["height"],
            "width": first["width"],
        }
        if first["initial_image"]:
            size = first["width"], first["height"]
            arguments["image"] = [self.sources.picture(row["initial_image"], *size) for row in rows]
            arguments["strength"] = first["strength"]
        known = inspect.signature(pipeline.__call__).parameters  # image-to-image takes its size from the picture
        output = pipeline(**self.encode(rows, guided), **{n: v for n, v in arguments.items() if n in known})
        unsafe = getattr(output, "nsfw_content_detected", None) or [False] * len(rows)
        return Rendering(output.images.float().as_subclass(Tensor), tuple(map(bool, unsafe)))

    def _pipeline(self, scheduler: str, from_image: bool) -> DiffusionPipeline:
        """This lane's own pipeline for a scheduler and a mode; all of them share the weights."""
        if (scheduler, from_image) not in self._derived:
            auto = AutoPipelineForImage2Image if from_image else AutoPipelineForText2Image
            sampler = make_scheduler(scheduler, self.pipeline.scheduler.config)
            try:
                derived = auto.from_pipe(self.pipeline, scheduler=sampler)
            except ValueError as error:
                raise InputError(
                    f"generator.model: diffusers has no image-to-image form of {type(self.pipeline).__name__}; "
                    "choose another model for rows with an initial image"
                ) from error
            derived.set_progress_bar_config(disable=True)
            self._derived[scheduler, from_image] = derived
        return self._derived[scheduler, from_image]


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler of diffusers by its class name, with the settings that the model came with."""
    scheduler = getattr(diffusers, name, None)
    if not isinstance(scheduler, type) or not hasattr(scheduler, "from_config"):
        hint = nearest(name, [n for n in dir(diffusers) if n.endswith("Scheduler")])
        raise InputError(f"generator.scheduler: {name!r} is not a scheduler of diffusers; did you mean {hint[0]!r}?")
    with one_sentence(f"generator.scheduler: {name} does not take the model's settings", "choose another scheduler"):
        return scheduler.from_config(config)
