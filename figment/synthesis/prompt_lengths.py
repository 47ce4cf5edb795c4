"""Prompts that are longer than a model's text encoders read: counted, told, and for some families read in parts."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from figment.synthesis.families import Family
from figment.text import shown

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # whatever the tools around set for everybody


def excess(family: Family, pipeline: Any, text: str) -> list[tuple[str, int, int]]:
    """(tokenizer, tokens of ``text``, tokens that are read) for each text encoder that the text is too long for."""
    counted = ((reader.tokenizer, *reader.count(pipeline, text)) for reader in family.readers)
    return [(name, tokens, limit) for name, tokens, limit in counted if tokens > limit]


def parts_of(family: Family, pipeline: Any, text: str) -> list[str]:
    """The text cut between words into as few parts as every text encoder can read; a word longer than that is a part."""
    parts: list[str] = []
    for word in text.split():
        longer = f"{parts[-1]} {word}" if parts else word
        if parts and not excess(family, pipeline, longer):
            parts[-1] = longer
        else:
            parts.append(word)
    return parts or [""]


class LongPrompts:
    """Counts the distinct prompts of a run that are too long, and tells it once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.long = 0
        self.told = False

    def look(self, rows: Iterable[Mapping[str, Any]], family: Family, pipeline: Any) -> None:
        """Count the rows' prompts and negative prompts; the first rows with a long one are told with its numbers."""
        longest: tuple[int, int, str, str] | None = None
        for row in rows:
            for text in (row["prompt"], row["negative_prompt"]):
                if hash(text) in self.seen or row.get("long_prompts"):
                    continue
                self.seen.add(hash(text))
                over = excess(family, pipeline, text)
                self.long += bool(over)
                longest = max(
                    [longest or (0, 0, "", ""), *((tokens, limit, name, text) for name, tokens, limit in over)]
                )
        if longest and longest[0] and not self.told:
            self.told = True
            tokens, limit, name, text = longest
            advice = "set generator.long_prompts: true to have them read in parts" if family.chunks else "shorten them"
            log.warning(
                "%s of the first %s prompts are longer than this %s model reads: %s tokens of which the %s takes %s in %s; "
                "the rest is cut: %s",
                self.long, len(self.seen), family.title, tokens, name, limit, shown(text), advice,
            )  # fmt: skip

    def summary(self) -> None:
        """Tell how many there were in all."""
        if self.told:
            log.warning("prompts that were cut because they are too long: %s of %s", self.long, len(self.seen))
