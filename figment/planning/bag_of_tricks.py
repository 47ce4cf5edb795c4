"""Planner of the bag of tricks: the same number of images per class for each trick, split evenly over its prompts."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from figment.files import digest
from figment.planning.row import Row
from figment.prompts.tricks import Prompt, Trick
from figment.synthesis.config import GeneratorConfig

RECIPE = "bag_of_tricks"
Cell = tuple[str, tuple[str, ...]]  # a trick and the labels it is asked to show


def plan_bag_of_tricks(
    prompts: Sequence[Prompt],
    tricks: Sequence[Trick],
    generator: GeneratorConfig,
    revision: str,
    images: int | Mapping[Cell, range],
    stream: int,
) -> Iterator[Row]:
    """Rows for ``images`` pictures of every class in every trick, or for these replicates of some of them; a trick's
    prompts share them evenly (+-1)."""
    guidance = {trick.name: trick.guidance for trick in tricks}
    books: dict[Cell, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        books[prompt.trick, prompt.labels].append(prompt)
    chosen = images if isinstance(images, Mapping) else dict.fromkeys(books, range(images))
    for (trick, labels), replicates in chosen.items():
        book = books[trick, labels]
        for replicate in replicates:
            prompt = book[replicate % len(book)]
            yield Row(
                prompt=prompt.text,
                labels=prompt.labels,
                recipe=RECIPE,
                trick=trick,
                domain=prompt.domain,
                guidance_scale=draw_guidance(guidance[trick], (stream, trick, labels, replicate)),
                model=generator.model,
                revision=revision,
                width=generator.width,
                height=generator.height,
                num_inference_steps=generator.num_inference_steps,
                scheduler=generator.scheduler,
                stream=stream,
                replicate=replicate,
            )


def draw_guidance(rule: float | tuple[float, float], identity: tuple) -> float:
    """A fixed scale, or one uniform draw for this image (to three decimals) that depends on its identity alone."""
    if not isinstance(rule, tuple):
        return float(rule)
    rng = np.random.default_rng(int(digest(list(identity))[:16], 16))
    return round(float(rng.uniform(*rule)), 3)
