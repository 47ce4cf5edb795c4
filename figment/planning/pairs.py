"""Planner of images with one label or two: a class by itself as often as beside another, which are taken in turn.

Pairs are those of "Diverse and Tailored Image Generation" (Zhang et al. 2024): any two classes that are not confusable.
"""

from collections.abc import Iterator, Sequence

from figment.labels import Label, LabelSpace
from figment.planning.generator_config import Origin
from figment.planning.row import Row
from figment.prompts.pairs import label_pairs


def plan_pairs(
    space: LabelSpace,
    wanted: Sequence[int],
    images_per_label: int,
    origin: Origin,
) -> Iterator[Row]:
    """Rows for ``images_per_label`` images of each class in ``wanted`` (ids): half of it alone (the odd one too), the
    others of it and one more class of ``space``, each of those in turn."""
    columns = origin.columns()
    pairs = [pair for pair in label_pairs(space) if len(pair) == 2]
    for label in (space.labels[i] for i in wanted):
        both = [pair for pair in pairs if label in pair]
        alone = images_per_label - images_per_label // 2 if both else images_per_label
        for k in range(images_per_label):
            asked = (label,) if k < alone else both[(k - alone) % len(both)]
            replicate = k if k < alone else (k - alone) // len(both)
            yield Row(
                prompt=prompt_of(asked),
                labels=tuple(one.name for one in asked),
                trick="single" if len(asked) == 1 else "pair",
                domain="photo",
                # A pair of two wanted classes is asked for by both: each adds images of its own.
                replicate=2 * replicate + (len(asked) == 2 and asked[0] is not label),
                **columns,
            )


def prompt_of(labels: Sequence[Label]) -> str:
    return "a photo of " + " and ".join(f"a {label.prompt_name}" for label in labels)
