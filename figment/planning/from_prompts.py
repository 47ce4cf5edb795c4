"""Planner of the images that prompts ask for: so many of every set of labels in every trick, which its prompts share.

The bag of tricks (Shipard et al. 2023), tailored images (Zhang et al. 2024) and any other recipe that has a prompt book are
this with other prompts. The second paper draws pairs at random until every class has its number; here every pair has one, so
that hard classes do not end up alone with hard pairs.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from figment.files import digest
from figment.labels import LabelSpace
from figment.planning.adapters import join_adapters
from figment.planning.generator_config import Origin
from figment.planning.row import Row
from figment.planning.words import Words
from figment.prompts.naming import naming_pattern
from figment.prompts.tricks import Prompt, Trick

Cell = tuple[str, tuple[str, ...]]  # a trick and the labels it is asked to show


def plan_prompts(
    prompts: Sequence[Prompt],
    origin: Origin,
    images: int | Mapping[str, int] | Mapping[Cell, range],
    tricks: Sequence[Trick] = (),
) -> Iterator[Row]:
    """Rows for ``images`` of every set of labels in every trick, or so many by trick, or for these replicates of some sets; a
    set's prompts take turns. A trick that ``tricks`` does not define has the generator's guidance."""
    stream, columns = origin.stream, origin.columns()
    by_name = {trick.name: trick for trick in tricks}
    books: dict[Cell, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        books[prompt.trick, prompt.labels].append(prompt)
    for cell, replicates in cells_of(books, images).items():
        book = books[cell]
        trick = by_name.get(cell[0]) or Trick(cell[0], (), (), origin.generator.guidance_scale)
        for replicate in replicates:
            prompt = book[replicate % len(book)]
            identity = (stream, *cell, replicate)
            paired = digest([stream, *cell, replicate // len(book)]) if trick.paired_noise else ""
            scale = draw_once(trick.guidance, stream) if trick.once else draw_guidance(trick.guidance, identity)
            yield Row(
                prompt=prompt.text,
                labels=prompt.labels,
                trick=prompt.trick,
                domain=prompt.domain,
                replicate=replicate,
                shared_noise=paired,
                **columns | {"guidance_scale": scale},
            )


def cells_of(
    cells: Mapping[Cell, object], images: int | Mapping[str, int] | Mapping[Cell, range]
) -> Mapping[Cell, range]:
    """The replicates of every cell: the same number of each, a number by trick, or as they are given."""
    if isinstance(images, int):
        return dict.fromkeys(cells, range(images))
    if all(isinstance(key, str) for key in images):
        return {cell: range(images[cell[0]]) for cell in cells}  # type: ignore[index,arg-type]  # keys are tricks
    return images  # type: ignore[return-value]  # keys are cells


def say_words(rows: Iterator[Row], words: Words, space: LabelSpace) -> Iterator[Row]:
    """The rows, saying the word that was learned for a class in place of its name, where there is one, and made with the LoRA
    that was learned for it; a row of several labels stays as it is, and so does a prompt that does not name its class."""
    patterns = {label.name: naming_pattern(label) for label in space.labels if label.name in words.lengths}
    for row in rows:
        (name, *others) = row.labels
        changes, adapter = {}, "" if others else words.loras.get(name, "")
        if name in patterns and not others:
            prompt, count = patterns[name].subn(f"<{name}>".replace("\\", r"\\"), row.prompt)
            if count:
                changes, adapter = {"prompt": prompt, "concept": name}, join_adapters(words.adapter, adapter)
        yield row.model_copy(update={**changes, "adapter": join_adapters(adapter, row.adapter)}) if adapter else row


def draw_guidance(rule: float | tuple[float, float], identity: tuple) -> float:
    """A fixed scale, or one uniform draw for this image (to three decimals) that depends on its identity alone."""
    if not isinstance(rule, tuple):
        return float(rule)
    rng = np.random.default_rng(int(digest(list(identity))[:16], 16))
    return round(float(rng.uniform(*rule)), 3)


def draw_once(rule: float | tuple[float, float], seed: int) -> float:
    """What the published code draws from a range: one whole number, both ends included, for all images of a run."""
    return float(random.Random(seed).randint(*map(int, rule))) if isinstance(rule, tuple) else float(rule)
