"""Images with a graph: a stock diffusers pipeline whose whole sampler can be differentiated."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.families import family_of
from figment.synthesis.schedulers import make_scheduler


def sample(
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    generator: GeneratorConfig,
    negative_prompt: str = "",
    differentiated_steps: int | None = None,
) -> Tensor:
    """(B, 3, H, W) in [0, 1]: what ``Generator.render`` makes of the same prompts and seeds, with a graph back to whatever
    of the pipeline asks for gradients.

    ``differentiated_steps``: the sampler's last k steps; the earlier ones count as given. None for all of them.
    """
    steps = generator.num_inference_steps
    given = 0 if differentiated_steps is None else steps - differentiated_steps

    def forget(pipeline: DiffusionPipeline, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": tensors["latents"].detach()} if step < given else {}

    pipeline.scheduler = make_scheduler(generator.scheduler, pipeline.scheduler)
    family = family_of(type(pipeline).__name__, generator.model)
    if "callback_on_step_end" not in inspect.signature(pipeline.__call__).parameters:
        raise InputError(
            f"generator.model: {generator.model!r}: a text encoder cannot be tuned through a {family.title} model; choose another"
        )
    always = family.scale != "guidance_scale"  # guidance is off without a negative prompt
    negative = {"negative_prompt": [negative_prompt] * len(prompts)} if negative_prompt or always else {}
    with_gradients = inspect.unwrap(type(pipeline).__call__)  # what torch.no_grad decorates
    output = with_gradients(
        pipeline,
        prompt=list(prompts),
        **dict(family.settings) | negative | {family.scale: generator.guidance_scale},
        num_inference_steps=steps,
        height=generator.height,
        width=generator.width,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        callback_on_step_end=forget,
        output_type="pt",
    )
    return output.images.to(torch.promote_types(output.images.dtype, torch.float32))


@contextmanager
def checkpointed(*modules: nn.Module) -> Iterator[None]:
    """Within the block each forward pass of ``modules`` keeps its inputs alone and is run again when gradients pass through
    it: of a sampler's T steps the memory of one, for one forward pass more."""
    originals = [module.forward for module in modules]
    for module, forward in zip(modules, originals, strict=True):
        module.forward = partial(checkpoint, forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module, forward in zip(modules, originals, strict=True):
            module.forward = forward  # type: ignore[method-assign]
