"""The prompt book of a chat model: for each pair of classes so many clean prompts that name both."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from figment.errors import InputError
from figment.labels import Label
from figment.prompts.chat import Chat
from figment.prompts.instructions import pair_instruction
from figment.prompts.parsing import Parsed, parse_response
from figment.prompts.tricks import Prompt

TRICK = "language_model"


@dataclass(frozen=True)
class Book:
    """``prompts`` in the order of the pairs, ``drops`` by reason, ``short`` the pairs for which the model wrote
    fewer than were asked for, with how many."""

    prompts: list[Prompt]
    drops: dict[str, int]
    short: dict[tuple[str, ...], int]


def ask_for_prompts(
    pairs: Sequence[tuple[Label, ...]],
    chat: Chat,
    count: int,
    rounds: int = 3,
    instruction: Callable[[Sequence[str], int], str] = pair_instruction,
    parse: Callable[[str, Sequence[Label], int], Parsed] = parse_response,
) -> Book:
    """``count`` prompts for each of ``pairs`` (sec. 3.1); a pair that lacks some is asked again, ``rounds`` times in all.

    A prompt's source is the hash of the raw answer's question. Raises InputError for a class that is in no prompt at all.
    """
    kept: dict[tuple[Label, ...], dict[str, str]] = {pair: {} for pair in pairs}
    drops = Counter[str]()
    for draw in range(rounds):
        lacking = [pair for pair in pairs if len(kept[pair]) < count]
        questions = [instruction([label.prompt_name for label in pair], count) for pair in lacking]
        for pair, answer in zip(lacking, chat.ask(questions, draw), strict=True):
            parsed = parse(answer.whole_lines, pair, count)
            drops.update(drop.reason for drop in parsed.drops)
            for text in parsed.prompts:
                if len(kept[pair]) < count:
                    kept[pair].setdefault(text, answer.key)
    named = {label.name for pair, texts in kept.items() if texts for label in pair}
    for pair in pairs:
        for label in pair:
            if label.name not in named:
                raise InputError(
                    f"class {label.name!r}: no usable prompt in {rounds} rounds of {chat.config.model}'s answers; "
                    f"give it synonyms that the model says, or another model (the raw answers are in {chat.cache})"
                )
    prompts = [
        Prompt(text, tuple(label.name for label in pair), TRICK, source=key)
        for pair, texts in kept.items()
        for text, key in texts.items()
    ]
    short = {tuple(label.name for label in pair): len(texts) for pair, texts in kept.items() if len(texts) < count}
    return Book(prompts, dict(drops), short)
