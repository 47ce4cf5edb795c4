"""A resident diffusers pipeline that renders batches of plan rows."""

import copy
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from figment.devices import choose_device
from figment.errors import InputError
from figment.model_loaders.pipelines import open_pipeline
from figment.planning.adapters import loras_of
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.encoding import PromptEncoder
from figment.synthesis.families import Requests, embedded_guidance, guidance_of, refusal
from figment.synthesis.masks import render_within
from figment.synthesis.schedulers import make_scheduler
from figment.synthesis.sources import Sources
from figment.synthesis.weights import check_revision, is_local


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


def place(pipeline: Any, device: torch.device, offload: str) -> Any:
    """The pipeline on the device: all of it, or what runs at the moment (``offload``: whole networks, or groups of layers)."""
    if offload == "none":
        return pipeline.to(device)
    if device.type == "cpu":
        raise InputError(
            f"synthesis.offload: {offload!r} moves a model between a GPU and the CPU, and there is no GPU; leave it out"
        )
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=device.type == "cuda")
    return pipeline


class Generator:
    """Loads once; encodes each distinct prompt once; renders any mix of prompts, seeds and guidance scales in a batch."""

    def __init__(self, model: str, revision: str, config: SynthesisConfig, inputs: Inputs | None = None):
        check_revision(model, revision)
        self.config = config
        self.device = choose_device(config.device)
        own = None if is_local(model) else revision
        pipeline = open_pipeline(model, resolve_dtype(config), own, quantise=config.quantise)
        self.pipeline: DiffusionPipeline = place(pipeline, self.device, config.offload)
        self.pipeline.set_progress_bar_config(disable=True)
        inputs = inputs or Inputs()
        self.sources = Sources(inputs.sources or Path("sources"))
        self.encode = PromptEncoder(self.pipeline, inputs.adapters)
        self.family = self.encode.family
        self.guidance = self.family.guidance(self.pipeline.config, dict(self.denoiser.config))
        self._prepare_modules()
        self._derived: dict[tuple[str, bool], DiffusionPipeline] = {}
        self._embedded = threading.local()  # of each lane
        if self.guidance == "embedded":
            self.denoiser.register_forward_pre_hook(self._embed_guidance, with_kwargs=True)

    @property
    def denoiser(self) -> Any:
        """The network that runs at every step: a UNet or a transformer."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def decoder(self) -> Any:
        """The network that makes pixels of latents."""
        return getattr(self.pipeline, "vae", None) or self.pipeline.movq

    def lane(self) -> "Generator":
        """Another generator on the same weights and embeddings, for another thread: only the samplers are its own."""
        other = copy.copy(self)
        other._derived = {}
        return other

    def _prepare_modules(self) -> None:
        channels_last = self.config.channels_last
        # Groups are copied as they were, quantised weights are laid out as their library wants them.
        fits = self.family.channels_last and self.config.offload != "group" and self.config.quantise == "none"
        if fits and (channels_last or (channels_last is None and self.device.type == "cuda")):
            for module in (self.denoiser, self.decoder):
                module.to(memory_format=torch.channels_last)
        if self.config.vae_slicing and hasattr(self.decoder, "enable_slicing"):
            self.decoder.enable_slicing()
        if self.config.compile:
            self.denoiser.compile_repeated_blocks(fullgraph=True)

    @torch.inference_mode()
    def encode_ahead(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Encode the rows' texts now: networks that come and go then come once for all of them."""
        for guided in (True, False):
            if some := [row for row in rows if self._guided(row) == guided]:
                self.encode.meanings(some, guided)

    @torch.inference_mode()
    def render(self, rows: Sequence[Mapping[str, Any]], full: int | None = None) -> Rendering:
        """Images of plan rows that agree in size, steps, scheduler, strength and in having an initial image and a mask or not.

        One CPU generator per image, seeded by its row, so an image does not depend on its batch. Rows that are
        not guided skip the unconditional pass: they are rendered apart. With ``compile`` every batch is padded to
        ``full`` rows (by default the config's batch size), so that no new shape is ever compiled.
        """
        self._check(rows)
        first = rows[0]
        full = full or self.config.batch_size
        pixels = torch.empty(len(rows), 3, first["height"], first["width"], device=self.device)
        unsafe = [False] * len(rows)
        for indices in self._groups(rows):
            group = [rows[i] for i in indices]
            missing = full - len(group) if self.config.compile else 0
            part = self._render(group + group[-1:] * max(0, missing))
            if part.pixels.shape[2:] != pixels.shape[2:]:
                height, width = part.pixels.shape[2:]
                raise InputError(
                    f"generator: this {self.family.title} model makes images of {width} x {height} where the plan says "
                    f"{first['width']} x {first['height']}; plan with a size that it can make"
                )
            pixels[indices] = part.pixels[: len(group)]
            for i, flag in zip(indices, part.unsafe, strict=False):
                unsafe[i] = flag
        return Rendering(pixels, tuple(unsafe))

    def _guided(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has an unconditional pass."""
        return self.guidance == "classifier_free" and row["guidance_scale"] > self.family.guided_above

    def _groups(self, rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Indices of rows that can share a call: guided or not, and whatever else the pipeline cannot mix."""
        groups: dict[Any, list[int]] = {}
        for i, row in enumerate(rows):
            guided = self._guided(row)
            alone = i if row["initial_image"] and self.family.image == "reference" else None
            lengths: tuple = ()
            if self.family.pads == "alone" or row.get("long_prompts"):
                (meaning,) = self.encode.meanings([row], guided)
                lengths = tuple(tensor.shape for tensor in meaning.values())
            groups.setdefault((guided, loras_of(row["adapter"]), alone, lengths), []).append(i)
        return list(groups.values())

    def _render(self, rows: Sequence[Mapping[str, Any]]) -> Rendering:
        first, family = rows[0], self.family
        size = first["width"], first["height"]
        from_image = bool(first["initial_image"])
        pipeline = self._pipeline(first["scheduler"], from_image)
        guided = self._guided(first)
        scales = [row["guidance_scale"] for row in rows]
        arguments: dict[str, Any] = {
            family.scale: guidance_of(family, scales, self.device) if guided else first["guidance_scale"],
            "num_inference_steps": first["num_inference_steps"],
            "generator": [torch.Generator().manual_seed(row["seed"]) for row in rows],
            "output_type": "pt",
            "height": first["height"],
            "width": first["width"],
            **family.settings,
        }
        if from_image:
            arguments["image"] = [self.sources.image(row["initial_image"], *size) for row in rows]
            arguments["strength"] = first["strength"]
        known = inspect.signature(pipeline.__call__).parameters  # image-to-image takes its size from the image
        meanings = self.encode(rows, guided)  # before the LoRAs are on: another lane may wait for them while it encodes
        call: Any = pipeline
        if first.get("mask"):
            call = partial(render_within, [self.sources.mask(row["mask"], *size) for row in rows], pipeline)
        with self.encode.loras.on(first["adapter"]), self._embedding(scales):
            output = call(**meanings, **{n: v for n, v in arguments.items() if n in known})
        unsafe = getattr(output, "nsfw_content_detected", None) or [False] * len(rows)
        pixels = output.images.float().as_subclass(Tensor)
        return Rendering(pixels if from_image else family.pixels(pixels), tuple(map(bool, unsafe)))

    def _check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raise InputError for a row that asks for what the family cannot do."""
        for row in rows:
            strengths = (row["strength"],) if row["initial_image"] else ()
            side, loras = min(row["height"], row["width"]), bool(loras_of(row["adapter"]))
            masks = bool(row.get("mask"))
            requests = Requests((row["guidance_scale"],), row["negative_prompt"], strengths, side, loras, masks)
            if sentence := refusal(self.family, self.guidance, requests):
                raise InputError(f"plan: {sentence}")

    @contextmanager
    def _embedding(self, scales: list[float]) -> Iterator[None]:
        """Within the block this thread's calls of the denoiser read these guidance scales, one a row."""
        self._embedded.scales = scales
        try:
            yield
        finally:
            self._embedded.scales = None

    def _embed_guidance(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """A hook: where diffusers hands the denoiser one scale for all rows, each row's own."""
        if scales := getattr(self._embedded, "scales", None):
            name, value = embedded_guidance(self.pipeline, module, scales)
            kwargs = kwargs | {name: value.to(kwargs[name])}
        return args, kwargs

    def _pipeline(self, scheduler: str, from_image: bool) -> DiffusionPipeline:
        """This lane's own pipeline for a scheduler and a mode; all of them share the weights."""
        if (scheduler, from_image) not in self._derived:
            kind = getattr(diffusers, self.family.image_pipeline) if from_image else type(self.pipeline)
            parts, settings = kind._get_signature_keys(kind)
            known = {n: v for n, v in self.pipeline.components.items() if n in parts}
            known |= {n: self.pipeline.config[n] for n in settings if n in self.pipeline.config}
            sampler = make_scheduler(scheduler, self.pipeline.scheduler, self.family.scheduler_takes)
            derived = kind(**known | {"scheduler": sampler})
            derived.set_progress_bar_config(disable=True)
            self._derived[scheduler, from_image] = derived
        return self._derived[scheduler, from_image]
