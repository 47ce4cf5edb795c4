"""Planner of the bag of tricks: the same number of images per class for each trick, split evenly over its prompts."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from figment.files import digest
from figment.planning.plan import Row, make_plan
from figment.prompts.tricks import Prompt, Trick
from figment.synthesis.config import GeneratorConfig

RECIPE = "bag_of_tricks"


def plan_bag_of_tricks(
    prompts: Sequence[Prompt],
    tricks: Sequence[Trick],
    generator: GeneratorConfig,
    revision: str,
    images_per_class: int,
    stream: int,
) -> pa.Table:
    """Rows for ``images_per_class`` images of every class in every trick; a trick's prompts share them evenly (+-1)."""
    guidance = {trick.name: trick.guidance for trick in tricks}
    books: dict[tuple[str, tuple[str, ...]], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        books[prompt.trick, prompt.labels].append(prompt)
    rows = []
    for (trick, label), book in books.items():
        for replicate in range(images_per_class):
            prompt = book[replicate % len(book)]
            rows.append(
                Row(
                    prompt=prompt.text,
                    labels=prompt.labels,
                    recipe=RECIPE,
                    trick=trick,
                    domain=prompt.domain,
                    guidance_scale=draw_guidance(guidance[trick], (stream, trick, label, replicate)),
                    model=generator.model,
                    revision=revision,
                    width=generator.width,
                    height=generator.height,
                    num_inference_steps=generator.num_inference_steps,
                    scheduler=generator.scheduler,
                    stream=stream,
                    replicate=replicate,
                )
            )
    return make_plan(rows)


def draw_guidance(rule: float | tuple[float, float], identity: tuple) -> float:
    """A fixed scale, or one uniform draw for this image (to three decimals) that depends on its identity alone."""
    if not isinstance(rule, tuple):
        return float(rule)
    rng = np.random.default_rng(int(digest(list(identity))[:16], 16))
    return round(float(rng.uniform(*rule)), 3)
