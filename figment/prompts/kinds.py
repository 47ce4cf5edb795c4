"""Where prompts come from, a kind each. All write the same: a book of prompts that name the classes they ask for."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from figment.labels import LabelSpace
from figment.prompts.book import TRICK, Book
from figment.prompts.contexts import NAME, ContextConfig, check_contexts, make_contexts
from figment.prompts.pair_book import TEMPLATE, PairPromptConfig, check_pair_prompts, write_pair_prompts
from figment.prompts.prompt_files import FILE
from figment.prompts.tricks import Prompt, Trick, Wording, build_tricks, write_prompts
from figment.types import Settings

CONTEXTS = "contexts"  # the trick of prompts that say a place


class TrickPrompts(Settings):
    """The bag of tricks' grammars (Shipard et al. 2023), of one class each."""

    kind: Literal["tricks"] = "tricks"
    tricks: tuple[str, ...] = Field(min_length=1)
    domains: tuple[str, ...] | None = Field(None, min_length=1)  # of multi_domain
    wording: Wording = Wording()

    @property
    def names(self) -> tuple[str, ...]:
        """What the tricks of its prompts are called."""
        return self.tricks

    def rules(self, guidance_scale: float) -> list[Trick]:
        """The tricks, with what each does to the guidance."""
        return build_tricks(self.tricks, self.domains, guidance_scale, self.wording)

    def check(self, space: LabelSpace, cache: Path) -> None:
        """Nothing can be missing."""

    def write(self, space: LabelSpace, guidance_scale: float, cache: Path) -> Book:
        return Book(write_prompts(space, self.rules(guidance_scale)), {}, {})


class ContextPrompts(ContextConfig):
    """Where, when and how a class is seen (Lingenberg et al. 2024), of one class each."""

    kind: Literal["contexts"] = "contexts"

    @property
    def names(self) -> tuple[str, ...]:
        """What the trick of its prompts is called."""
        return (CONTEXTS,)

    def rules(self, guidance_scale: float) -> list[Trick]:
        return []

    def check(self, space: LabelSpace, cache: Path) -> None:
        """Raise InputError now for a file or a chat model that is not there."""
        check_contexts(space, self, cache)

    def write(self, space: LabelSpace, guidance_scale: float, cache: Path) -> Book:
        found = make_contexts(space, self, cache)
        source = "template" if self.templates else self.file or f"contexts of {self.chat and self.chat.model}"
        prompts = [
            Prompt(text.replace(NAME, label.prompt_name), (label.name,), CONTEXTS, source=source)
            for label in space.labels
            for text in found[label.name]
        ]
        return Book(prompts, {}, {})


class PairPrompts(PairPromptConfig):
    """Every pair of classes that is not confusable, and every class by itself (Zhang et al. 2024)."""

    kind: Literal["pairs"] = "pairs"

    @property
    def names(self) -> tuple[str, ...]:
        """What the tricks of its prompts may be called."""
        return (TRICK, TEMPLATE, FILE)

    def rules(self, guidance_scale: float) -> list[Trick]:
        return []

    def check(self, space: LabelSpace, cache: Path) -> None:
        """Raise InputError now for a file or a chat model that is not there."""
        check_pair_prompts(space, self, cache)

    def write(self, space: LabelSpace, guidance_scale: float, cache: Path) -> Book:
        return write_pair_prompts(space, self, cache)


PromptKind = Annotated[TrickPrompts | ContextPrompts | PairPrompts, Field(discriminator="kind")]


def write_book(kinds: Sequence[PromptKind], space: LabelSpace, guidance_scale: float, cache: Path) -> Book:
    """The prompts of all kinds, one after the other; a chat model's raw answers are kept in ``cache``."""
    books = [kind.write(space, guidance_scale, cache) for kind in kinds]
    drops = sum((Counter(book.drops) for book in books), Counter[str]())
    short = {labels: count for book in books for labels, count in book.short.items()}
    return Book([prompt for book in books for prompt in book.prompts], dict(drops), short)


def rules_of(kinds: Sequence[PromptKind], guidance_scale: float) -> list[Trick]:
    """What all of the kinds do to the guidance, by trick."""
    return [rule for kind in kinds for rule in kind.rules(guidance_scale)]
