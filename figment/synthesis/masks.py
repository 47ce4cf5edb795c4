"""Images of which a part is rendered (DA-Fusion, Trabucco et al. 2024): after each step what lies outside of the mask is the
initial image again, with the noise that belongs to the next step."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor


def render_within(masks: Sequence[Image.Image], pipeline: Any, **arguments: Any) -> Any:
    """The output of an image-to-image pipeline's call, rendered where the images' masks are white; elsewhere its pixels are the
    image's own."""
    scheduler = pipeline.scheduler
    seen: list[tuple[Tensor, tuple[Tensor, ...]]] = []
    name = "scale_noise" if hasattr(scheduler, "scale_noise") else "add_noise"
    noised = getattr(scheduler, name)

    def noised_and_seen(image: Tensor, *others: Tensor) -> Tensor:
        seen.append((image, others))  # the latents of the initial images, their noise and the time
        return noised(image, *others)

    def outside_again(pipeline: Any, step: int, time: Tensor, values: dict[str, Any]) -> dict[str, Any]:
        image, others = seen[0]
        rendered = F.interpolate(white, image.shape[-2:]).to(image)
        rendered = rendered.view(-1, *[1] * (image.ndim - 3), *image.shape[-2:]).expand_as(
            image
        )  # Qwen-Image has frames
        if left := pipeline.num_timesteps - step - 1:
            later = scheduler.timesteps[-left:][:1]
            image = noised(image, *(other if other.ndim == image.ndim else later for other in others))
        if values["latents"].ndim != image.ndim:  # Flux has four of them in a token
            image, rendered = (pipeline._pack_latents(part, len(part), *part.shape[-3:]) for part in (image, rendered))
        return {"latents": torch.where(rendered > 0.5, values["latents"], image)}

    white = _stacked(masks, pipeline._execution_device)
    setattr(scheduler, name, noised_and_seen)
    try:
        output = pipeline(**arguments, callback_on_step_end=outside_again)
    finally:
        delattr(scheduler, name)
    output.images = torch.where(
        white > 0.5, output.images, _stacked(arguments["image"], white.device).to(output.images)
    )
    return output


def _stacked(images: Sequence[Image.Image], device: torch.device) -> Tensor:
    """(B, C, H, W) in [0, 1]."""
    return torch.stack([pil_to_tensor(image) for image in images]).to(device) / 255
