"""Prompts for every pair of classes and every class by itself: a language model's, a file's, or one plain sentence each."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from figment.labels import Label, LabelSpace
from figment.prompts.book import Book, ask_for_prompts
from figment.prompts.chat import Chat, ChatConfig, check_chat
from figment.prompts.instructions import pair_instruction, scene_instruction
from figment.prompts.pairs import label_pairs
from figment.prompts.parsing import Parsed, parse_response
from figment.prompts.prompt_files import read_prompt_file
from figment.prompts.tricks import Prompt
from figment.types import Count, PathText, Settings

TEMPLATE = "template"
log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # whatever the tools around set for everybody


class PairPromptConfig(Settings):
    """With a ``chat`` model ``per_pair`` prompts of its; with a ``file`` those that it holds, at most ``per_pair`` of each pair
    (figment.prompts.prompt_files, or what ``figment import prompts`` wrote); without either a template."""

    chat: ChatConfig | None = None
    file: PathText | None = None
    per_pair: Count = 10
    labels_per_image: int = Field(2, strict=True, ge=1, le=3)  # classes that a prompt asks for together, at most
    must_name: bool = (
        True  # prompts that do not name all that they are to show are dropped; the published code uses them
    )
    rounds: Count = 3  # times that a pair is asked for before it has to do with fewer
    instruction: Literal["pair", "scene"] = "scene"  # captions of ten words or more, as in the paper; pair: short ones

    @model_validator(mode="after")
    def _one_template(self) -> Self:
        if self.chat is not None and self.file is not None:
            raise ValueError("both chat and file are given; prompts come from one of them")
        if self.chat is None and self.file is None and "per_pair" in self.model_fields_set and self.per_pair != 1:
            raise ValueError(
                f"per_pair {self.per_pair} without a chat model or a file; the template is one prompt a pair"
            )
        return self


def write_pair_prompts(space: LabelSpace, config: PairPromptConfig, cache: Path) -> Book:
    """A book for all pairs of ``space`` that are not confusable. Raw answers are kept in the folder ``cache``.

    A pair for which the model wrote nothing usable, or of which the file has nothing, has the template, as in the paper; a
    warning names it.
    """
    pairs = label_pairs(space, config.labels_per_image)
    if config.chat is None and config.file is None:
        return Book(template_prompts(pairs), {}, {})
    book, source = _written(pairs, space, config, cache)
    order = {tuple(label.name for label in pair): i for i, pair in enumerate(pairs)}
    without = [pairs[order[names]] for names, found in book.short.items() if not found]
    if without:
        log.warning(
            "%s wrote no usable prompt for %d of %d pairs, which have the template's instead: %s",
            source, len(without), len(pairs),
            ", ".join(" + ".join(label.name for label in pair) for pair in without),
        )  # fmt: skip
    prompts = sorted([*book.prompts, *template_prompts(without)], key=lambda prompt: order[prompt.labels])
    return replace(book, prompts=prompts)


def _written(
    pairs: Sequence[tuple[Label, ...]], space: LabelSpace, config: PairPromptConfig, cache: Path
) -> tuple[Book, str]:
    """The book of a chat model or of a file, and what that is called."""
    if config.file is not None:
        return _from_file(pairs, space, config, Path(config.file)), config.file
    if config.chat is None:
        raise ValueError("neither chat nor file")
    instruction = scene_instruction if config.instruction == "scene" else pair_instruction
    parse = parse_response if config.must_name else _parse_any
    chat = Chat(config.chat, cache)
    return ask_for_prompts(pairs, chat, config.per_pair, config.rounds, instruction, parse), config.chat.model


def _parse_any(text: str, labels: Sequence[Label], count: int) -> Parsed:
    """All that can be prompts, whether or not they name the classes."""
    return parse_response(text, (), count)


def _from_file(pairs: Sequence[tuple[Label, ...]], space: LabelSpace, config: PairPromptConfig, file: Path) -> Book:
    """The first ``per_pair`` prompts of each pair; those of other sets of classes are not used."""
    found, drops = read_prompt_file(file, space, config.must_name)
    kept: dict[tuple[str, ...], list[Prompt]] = {tuple(label.name for label in pair): [] for pair in pairs}
    for prompt in found:
        own = kept.get(prompt.labels)
        reason = "no_pair" if own is None else "surplus" if len(own) >= config.per_pair else ""
        if own is None or reason:
            drops[reason] = drops.get(reason, 0) + 1
        else:
            own.append(prompt)
    short = {names: len(prompts) for names, prompts in kept.items() if len(prompts) < config.per_pair}
    return Book([prompt for prompts in kept.values() for prompt in prompts], drops, short)


def check_pair_prompts(space: LabelSpace, config: PairPromptConfig, cache: Path) -> None:
    """Raise InputError now for a file or a chat model by which ``write_pair_prompts`` would fail."""
    if config.file is not None:
        read_prompt_file(Path(config.file), space, config.must_name)
    elif config.chat is not None:
        check_chat(config.chat, cache)


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
