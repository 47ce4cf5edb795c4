"""Planner of "Diverse and Tailored Image Generation" (Zhang et al. 2024): pictures of every pair of classes, and of every class
by itself, from the prompts that a language model wrote for them.

The paper draws pairs at random until every class has its number; here every pair has one, so that hard classes do not end up
alone with hard pairs.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from figment.planning.bag_of_tricks import Cell
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
    """Rows for ``images`` pictures of every set of labels that there are prompts for, or for these replicates of some of them;
    a set's prompts take turns. ``adapter``: the tuned text encoder's hash."""
    books: dict[Cell, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        books[prompt.trick, prompt.labels].append(prompt)
    chosen = images if isinstance(images, Mapping) else dict.fromkeys(books, range(images))
    for cell, replicates in chosen.items():
        for replicate in replicates:
            prompt = books[cell][replicate % len(books[cell])]
            yield Row(
                prompt=prompt.text,
                negative_prompt=negative_prompt,
                labels=prompt.labels,
                recipe=RECIPE,
                trick=prompt.trick,
                domain=prompt.domain,
                stream=stream,
                replicate=replicate,
                adapter=adapter,
                **generator.columns(revision),
            )
