"""The papers' plans, straight from the planner of prompts."""

from collections.abc import Iterator, Mapping, Sequence

from figment.planning.bag_of_tricks import most_of
from figment.planning.from_prompts import Cell, plan_prompts
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.row import Row
from figment.prompts.tricks import Prompt, Trick

Images = int | Mapping[Cell, range]


def plan_bag_of_tricks(
    prompts: Sequence[Prompt],
    tricks: Sequence[Trick],
    generator: GeneratorConfig,
    revision: str,
    images: Images,
    stream: int,
) -> Iterator[Row]:
    return plan_prompts(prompts, Origin(generator, revision, stream, "bag_of_tricks"), images, tricks)


def plan_tailored(
    prompts: Sequence[Prompt],
    generator: GeneratorConfig,
    revision: str,
    images: Images,
    stream: int,
    adapter: str = "",
    negative_prompt: str = "",
) -> Iterator[Row]:
    origin = Origin(generator, revision, stream, "tailored", adapter, negative_prompt)
    return plan_prompts(prompts, origin, images)


def replicates_of(sets: Mapping[str, Mapping[str, int]], prompts: Sequence[Prompt]) -> dict[Cell, range]:
    """What must be made so that every set can be drawn from it."""
    most = most_of(sets)
    return {(prompt.trick, prompt.labels): range(most[prompt.trick]) for prompt in prompts}
