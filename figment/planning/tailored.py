"""Planner of "Diverse and Tailored Image Generation" (Zhang et al. 2024)."""

from collections.abc import Iterator, Mapping, Sequence

from figment.planning.from_prompts import Cell, plan_prompts
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import Row
from figment.prompts.tricks import Prompt

RECIPE = "tailored"


def plan_tailored(
    prompts: Sequence[Prompt],
    generator: GeneratorConfig,
    revision: str,
    images: int | Mapping[Cell, range],
    stream: int,
    adapter: str = "",
    negative_prompt: str = "",
) -> Iterator[Row]:
    """Rows for ``images`` of every set of labels that there are prompts for, or for these replicates of some of them."""
    return plan_prompts(
        prompts, generator, revision, images, stream, RECIPE, adapter=adapter, negative_prompt=negative_prompt
    )
