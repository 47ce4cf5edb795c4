"""Prompts for classes that are taken for others: a chat model says by which parts, attributes and views they differ."""

from collections.abc import Mapping

from figment.labels import LabelSpace
from figment.prompts.chat import Chat
from figment.prompts.instructions import unlike_instruction
from figment.prompts.naming import naming_pattern
from figment.prompts.parsing import parse_response
from figment.prompts.tricks import Prompt

UNLIKE = "unlike"  # the trick of these prompts


def ask_unlike(confused: Mapping[str, str], space: LabelSpace, chat: Chat, count: int, draw: int) -> list[Prompt]:
    """At most ``count`` prompts for each class that is ``confused`` with another (names of ``space``), which they do not name. A
    class for which the model writes nothing usable has none. ``draw``: how often the same was asked before."""
    by_name = {label.name: label for label in space.labels}
    pairs = [(by_name[name], by_name[other]) for name, other in confused.items()]
    questions = [unlike_instruction(label.prompt_name, other.prompt_name, count) for label, other in pairs]
    return [
        Prompt(text, (label.name,), UNLIKE, source=answer.key)
        for (label, other), answer in zip(pairs, chat.ask(questions, draw), strict=True)
        for text in parse_response(answer.whole_lines, [label], count).prompts
        if not naming_pattern(other).search(text)
    ]
