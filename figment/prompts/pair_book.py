"""Prompts for every pair of classes and every class by itself: a language model's, or one plain sentence each."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from figment.labels import Label, LabelSpace
from figment.prompts.book import Book, ask_for_prompts
from figment.prompts.chat import Chat, ChatConfig
from figment.prompts.instructions import pair_instruction, scene_instruction
from figment.prompts.pairs import label_pairs
from figment.prompts.tricks import Prompt
from figment.types import Count, Settings

TEMPLATE = "template"
log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # whatever the tools around set for everybody


class PairPromptConfig(Settings):
    """With a ``chat`` model ``per_pair`` prompts of its; without one a template."""

    chat: ChatConfig | None = None
    per_pair: Count = 10
    rounds: Count = 3  # times that a pair is asked for before it has to do with fewer
    instruction: Literal["pair", "scene"] = "scene"  # captions of ten words or more, as in the paper; pair: short ones

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        if self.chat is None and "per_pair" in self.model_fields_set and self.per_pair != 1:
            raise ValueError(f"per_pair {self.per_pair} without a chat model; the template is one prompt a pair")
        return self


def write_pair_prompts(space: LabelSpace, config: PairPromptConfig, cache: Path) -> Book:
    """A book for all pairs of ``space`` that are not confusable. Raw answers are kept in the folder ``cache``.

    A pair for which the model wrote nothing usable has the template, as in the paper; a warning names it.
    """
    pairs = label_pairs(space)
    if config.chat is None:
        return Book(template_prompts(pairs), {}, {})
    instruction = scene_instruction if config.instruction == "scene" else pair_instruction
    book = ask_for_prompts(pairs, Chat(config.chat, cache), config.per_pair, config.rounds, instruction)
    order = {tuple(label.name for label in pair): i for i, pair in enumerate(pairs)}
    without = [pairs[order[names]] for names, found in book.short.items() if not found]
    if without:
        log.warning(
            "%s wrote no usable prompt for %d of %d pairs, which have the template's instead: %s",
            config.chat.model, len(without), len(pairs),
            ", ".join(" + ".join(label.name for label in pair) for pair in without),
        )  # fmt: skip
    prompts = sorted([*book.prompts, *template_prompts(without)], key=lambda prompt: order[prompt.labels])
    return replace(book, prompts=prompts)


def template_prompts(pairs: Sequence[tuple[Label, ...]]) -> list[Prompt]:
    """One prompt a pair: "a photo of a cat next to a sink"; one for a class by itself: "a photo of a cat".

    The first is what the paper falls back on where its language model said nothing.
    """
    return [
        Prompt(
            "a photo of " + " next to ".join(f"a {label.prompt_name}" for label in pair),
            tuple(label.name for label in pair),
            TEMPLATE,
        )
        for pair in pairs
    ]


def describe(book: Book) -> dict[str, int]:
    """What was kept, what was dropped and why, for the log."""
    kinds = Counter("alone" if len(prompt.labels) == 1 else "pairs" for prompt in book.prompts)
    return {**kinds, **{f"dropped/{reason}": n for reason, n in book.drops.items()}, "short": len(book.short)}
