"""Diffusion from a point in CLIP's image space instead of a prompt.

Generators that were trained to take image embeddings get them as they are (unCLIP, Kandinsky 2.2). One that only reads text is
given what a linear map makes of the embedding: the text encoder's states that such an image's caption would have.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from figment.errors import InputError


def embedding_arguments(pipeline: DiffusionPipeline, embeddings: Tensor) -> dict[str, Any]:
    """What hands ``embeddings`` (B, D) to a pipeline's call. The unconditional embedding is zero, the prompt empty.

    Raises InputError for a pipeline that takes no image embeddings, or those of another CLIP.
    """
    known = inspect.signature(pipeline.__call__).parameters
    if "image_embeds" not in known:
        raise InputError(
            f"generator.model: {type(pipeline).__name__} takes no image embeddings; choose an unCLIP or Kandinsky 2.2 "
            "model, or map the embeddings to text (LinearCaptioner)"
        )
    if (wants := _embedding_size(pipeline)) and embeddings.shape[1] != wants:
        raise InputError(
            f"generator.model: {type(pipeline).__name__} takes image embeddings of {wants} numbers, found "
            f"{embeddings.shape[1]}; embed the images with the CLIP it was trained with"
        )
    arguments: dict[str, Any] = {"image_embeds": embeddings}
    if "negative_image_embeds" in known:
        arguments["negative_image_embeds"] = torch.zeros_like(embeddings)
    if "prompt" in known:
        arguments["prompt"] = [""] * len(embeddings)
    return arguments


def _embedding_size(pipeline: DiffusionPipeline) -> int | None:
    encoder = getattr(pipeline, "image_encoder", None)
    return encoder.config.projection_dim if encoder else getattr(pipeline.unet.config, "encoder_hid_dim", None)


@torch.inference_mode()
def render_conditioned(
    pipeline: DiffusionPipeline,
    arguments: Mapping[str, Any],
    seeds: Sequence[int],
    size: int,
    guidance_scale: float,
    num_inference_steps: int,
) -> Tensor:
    """(B, 3, size, size) float in [0, 1] on the CPU; every image has the noise of its own seed."""
    images = pipeline(
        **arguments,
        height=size,
        width=size,
        guidance_scale=guidance_scale,
        num_inference_steps=num_inference_steps,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="np",  # the one form in which all pipelines agree on the range
    ).images
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().clamp(0, 1)


@dataclass(frozen=True)
class LinearCaptioner:
    """CLIP image embeddings (B, D) to states of a text encoder (B, L, E): ridge regression on images and their captions.

    What it cannot say in the words' order that it saw most, it says blurred; it is no trained prior as unCLIP's.
    """

    weight: Tensor  # (D, L * E)
    bias: Tensor  # (L, E)

    @classmethod
    def fit(cls, embeddings: Tensor, states: Tensor, ridge: float = 1.0) -> "LinearCaptioner":
        """From ``embeddings`` (N, D) of images and ``states`` (N, L, E) of their captions."""
        x, y = embeddings.double(), states.double().flatten(1)
        centre, bias = x.mean(0), y.mean(0)
        x, y = x - centre, y - bias
        gram = x.t() @ x + ridge * torch.eye(x.shape[1], dtype=torch.float64)
        weight = torch.linalg.solve(gram, x.t() @ y)
        return cls(weight.float(), (bias - centre @ weight).float().unflatten(0, states.shape[1:]))

    def __call__(self, embeddings: Tensor) -> Tensor:
        return (embeddings.float() @ self.weight).unflatten(1, self.bias.shape) + self.bias
