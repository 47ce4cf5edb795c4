"""A resident diffusers pipeline that renders batches of plan rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline
from torch import Tensor

from figment.devices import choose_device
from figment.errors import InputError
from figment.files import sha256_folder
from figment.labels import key, nearest
from figment.synthesis.config import GeneratorConfig

EMBEDDING_NAMES = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")


class GuidanceVector(torch.Tensor):
    """A guidance scale per sample where diffusers expects one number: its pipelines compare it with 1, then multiply."""

    def __gt__(self, other: Any) -> Any:
        return bool((self.as_subclass(torch.Tensor) > other).any())


def is_local(model: str) -> bool:
    """Whether ``model`` means a folder (it exists, or is spelt like a path) rather than a hub id such as ``owner/name``."""
    return Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") != 1


def model_revision(config: GeneratorConfig) -> str:
    """What pins the weights: the hub revision, or the hash of a local folder's content."""
    folder = Path(config.model)
    if not is_local(config.model):
        return config.revision
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"generator.model: {config.model!r} holds no model_index.json; give a diffusers pipeline's folder or a hub id"
        )
    return sha256_folder(folder)[:16]


def unknown_names(model: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Names that a model with a ``vocabulary.json`` (a list of words it learnt) never saw, each with the nearest it did."""
    file = Path(model) / "vocabulary.json"
    if not file.is_file():
        return {}
    known = json.loads(file.read_text(encoding="utf-8"))
    keys = {key(word) for word in known}
    return {name: nearest(name, known) for name in names if key(name) not in keys}


class Generator:
    """Loads once; encodes each distinct prompt once; renders any mix of prompts, seeds and guidance scales in a batch."""

    def __init__(self, config: GeneratorConfig):
        self.config = config
        self.device = choose_device(config.device)
        auto = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        dtype = auto if config.dtype == "auto" else getattr(torch, config.dtype)
        revision = {} if is_local(config.model) else {"revision": config.revision}
        model_revision(config)
        try:
            pipeline = AutoPipelineForText2Image.from_pretrained(
                config.model, dtype=dtype, use_safetensors=True, **revision
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"generator.model: {config.model!r} cannot be loaded ({reason}); give a diffusers folder or a hub id"
            ) from error
        self.pipeline: DiffusionPipeline = pipeline.to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self._embeddings: dict[tuple[str, str], tuple[Tensor, ...]] = {}
        self._schedulers = {type(self.pipeline.scheduler).__name__: self.pipeline.scheduler}

    @torch.inference_mode()
    def render(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] of plan rows that agree in size, steps and scheduler.

        One CPU generator per image, seeded by its row, so a picture does not depend on its batch. Rows of guidance
        scale 1 or less skip the unconditional pass: they are rendered apart.
        """
        plain = [i for i, row in enumerate(rows) if row["guidance_scale"] <= 1]
        guided = [i for i, row in enumerate(rows) if row["guidance_scale"] > 1]
        first = rows[0]
        pictures = torch.empty(len(rows), 3, first["height"], first["width"], device=self.device)
        for indices in (plain, guided):
            if indices:
                pictures[indices] = self._render([rows[i] for i in indices], guided=indices is guided)
        return pictures

    def _render(self, rows: Sequence[Mapping[str, Any]], guided: bool) -> Tensor:
        first = rows[0]
        self.pipeline.scheduler = self._scheduler(first["scheduler"])
        embeddings = [self._encode(row["prompt"], row["negative_prompt"]) for row in rows]
        columns = dict(
            zip(EMBEDDING_NAMES, (torch.cat(parts) for parts in zip(*embeddings, strict=True)), strict=False)
        )
        scales = torch.tensor([row["guidance_scale"] for row in rows], device=self.device)
        if not guided:
            columns = {name: value for name, value in columns.items() if "negative" not in name}
        output = self.pipeline(
            **columns,
            guidance_scale=scales.view(-1, 1, 1, 1).as_subclass(GuidanceVector) if guided else 1.0,
            num_inference_steps=first["num_inference_steps"],
            height=first["height"],
            width=first["width"],
            generator=[torch.Generator().manual_seed(row["seed"]) for row in rows],
            output_type="pt",
        )
        return output.images.float().as_subclass(Tensor)

    def _encode(self, prompt: str, negative: str) -> tuple[Tensor, ...]:
        if (prompt, negative) not in self._embeddings:
            encoded = self.pipeline.encode_prompt(
                prompt=prompt,
                negative_prompt=negative,
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=True,
            )
            self._embeddings[prompt, negative] = encoded
        return self._embeddings[prompt, negative]

    def _scheduler(self, name: str) -> Any:
        if name not in self._schedulers:
            scheduler = getattr(diffusers, name, None)
            if not isinstance(scheduler, type) or not hasattr(scheduler, "from_config"):
                hint = nearest(name, [n for n in dir(diffusers) if n.endswith("Scheduler")])
                raise InputError(
                    f"generator.scheduler: {name!r} is not a scheduler of diffusers; did you mean {hint[0]!r}?"
                )
            self._schedulers[name] = scheduler.from_config(self.pipeline.scheduler.config)
        return self._schedulers[name]
