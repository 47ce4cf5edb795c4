"""Context prompts of "DIAGen" (sec. 4): where, when and how a class is seen, in the words of a language model.

The grammar is "a photo of a [adjective] CLASS [place or weather] [time]". A context names its class once, as ``{name}``,
which the planner replaces by the class's name or by the word learned for it.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from figment.errors import InputError
from figment.files import atomic
from figment.labels import Label, LabelSpace, nearest
from figment.prompts.book import ask_for_prompts
from figment.prompts.chat import Chat, ChatConfig, check_chat
from figment.prompts.instructions import context_instruction
from figment.prompts.naming import naming_pattern
from figment.prompts.parsing import MAX_PROMPT_LENGTH, REASONING, Drop, Parsed, parse_response, read_json
from figment.prompts.prompt_files import read_prompt_file
from figment.prompts.tricks import Prompt
from figment.reading import read_text
from figment.text import reason_of
from figment.types import Count, PathText, Settings

NAME = "{name}"
PLAIN = "a photo of a {name}"
SCENES = (
    "a photo of a {name} on the grass", "a photo of a {name} on the beach", "a photo of a {name} in the snow",
    "a photo of a {name} in the street", "a photo of a {name} at night", "a close-up photo of a {name}",
)  # fmt: skip
HEADER = ["class_name", "class_idx", "prompt"]
Contexts = Mapping[str, Sequence[str]]  # class name -> its contexts


class ContextConfig(Settings):
    """``chat`` writes the contexts, in one of four ways; or they are read from ``file``; or all classes have the same
    ``templates``, which suits a generator or chat model that knows few words.

    ``context`` asks briefly, ``context_grammar`` and ``context_uncommon`` at the length that a large model answers well (the
    paper's two instructions, in Figment's words); ``words`` asks for adjectives and places and puts them together.
    """

    per_class: Count = 10
    style: Literal["context", "context_grammar", "context_uncommon", "words"] = "context_grammar"
    chat: ChatConfig | None = None
    rounds: Count = 3  # times that a class with too few is asked for again
    # CSV: class_name;class_idx;prompt; or any other file of prompts (figment.prompts.prompt_files)
    file: PathText | None = None
    templates: tuple[str, ...] = ()  # "a photo of a {name} on the grass"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.chat is None, self.file is None, not self.templates].count(False) != 1:
            raise ValueError("give one of chat, file and templates")
        for template in self.templates:
            if not _is_context(template):
                raise ValueError(f"template {template!r} should hold {NAME} once and no other braces")
        return self


def make_contexts(space: LabelSpace, config: ContextConfig, cache: Path) -> dict[str, list[str]]:
    """Contexts of every class of ``space``; the chat model's raw answers stay in the folder ``cache``."""
    if config.file is not None:
        return read_contexts(Path(config.file), space)
    if config.chat is None:
        return {name: list(config.templates) for name in space.names}
    chat = Chat(config.chat, cache)
    if config.style == "words":
        return {label.name: ask_for_words(label, chat, config.per_class, config.rounds) for label in space.labels}
    pairs, style = [(label,) for label in space.labels], config.style
    book = ask_for_prompts(
        pairs,
        chat,
        config.per_class,
        config.rounds,
        lambda names, count: context_instruction(names[0], count, style),
        parse_contexts,
    )
    found: dict[str, list[str]] = {label.name: [] for label in space.labels}
    for prompt in book.prompts:
        found[prompt.labels[0]].append(prompt.text)
    return found


def contexts_of(space: LabelSpace, prompts: Iterable[Prompt]) -> dict[str, list[str]]:
    """The contexts that a book's prompts of one class each say of it, by class: with {name} where they first name it."""
    patterns = {label.name: naming_pattern(label) for label in space.labels}
    found: dict[str, list[str]] = {}
    for prompt in prompts:
        (name,) = prompt.labels
        found.setdefault(name, []).append(patterns[name].sub(NAME, prompt.text, count=1))
    return found


def check_contexts(space: LabelSpace, config: ContextConfig, cache: Path) -> None:
    """Raise InputError now for a file or a chat model by which ``make_contexts`` would fail."""
    if config.file is not None:
        read_contexts(Path(config.file), space)
    elif config.chat is not None:
        check_chat(config.chat, cache)


def parse_contexts(text: str, labels: Sequence[Label], count: int) -> Parsed:
    """At most ``count`` contexts of one class from a raw answer. Beyond ``parse_response``'s reasons a prompt is dropped if
    it names the class more than once (``named_twice``) or holds braces of its own (``braces``)."""
    (label,) = labels
    parsed = parse_response(text, labels, len(text))
    contexts: list[str] = []
    drops = list(parsed.drops)
    for prompt in parsed.prompts:
        context, times = naming_pattern(label).subn(NAME, prompt)
        if "{" in prompt or "}" in prompt:
            drops.append(Drop(prompt, "braces"))
        elif times > 1:
            drops.append(Drop(prompt, "named_twice"))
        elif context in contexts:
            drops.append(Drop(prompt, "duplicate"))
        elif len(contexts) == count:
            drops.append(Drop(prompt, "surplus"))
        else:
            contexts.append(context)
    return Parsed(contexts, drops)


def ask_for_words(label: Label, chat: Chat, count: int, rounds: int = 3) -> list[str]:
    """``count`` contexts of adjectives and places that the model named each by itself; plain ones where it named too few.
    Raises InputError if it named none at all."""
    found: dict[str, list[str]] = {"adjectives": [], "settings": []}
    for what, words in found.items():
        for draw in range(rounds):
            (answer,) = chat.ask([context_instruction(label.prompt_name, count, what)], draw)
            words += [word for word in parse_words(answer.whole_lines, label, count) if word not in words]
            if len(words) >= count:
                break
    if not any(found.values()):
        raise InputError(
            f"class {label.name!r}: no usable word in {rounds} rounds of {chat.config.model}'s answers; "
            f"ask in another style, or another model (the raw answers are in {chat.cache})"
        )
    return compose_contexts(found["adjectives"], found["settings"], count)


def compose_contexts(adjectives: Sequence[str], settings: Sequence[str], count: int) -> list[str]:
    """The first adjective with the first place and so on; where either has run out, the other alone, then neither."""
    contexts = []
    for i in range(count):
        adjective = f"{adjectives[i]} " if i < len(adjectives) else ""
        place = f" in a {settings[i]}" if i < len(settings) else ""
        contexts.append(f"a photo of a {adjective}{NAME}{place}")
    return contexts


def parse_words(text: str, label: Label, count: int) -> list[str]:
    """At most ``count`` words from a raw answer, without the class's name: those of the first list in brackets if
    there is one, else the items of ``parse_response``, else what stands between commas."""
    listed, _, _ = read_json(REASONING.sub("\n", text), first_only=True)
    if not listed:
        items = parse_response(text, (), len(text)).prompts
        listed = items[0].split(",") if len(items) == 1 else items
    own = naming_pattern(label)
    words = (" ".join(own.sub(" ", item.replace("_", " ")).split()).strip(" .,;") for item in listed)
    kept = dict.fromkeys(word for word in words if word and len(word) <= 40 and not re.search(r"[{}<>]", word))
    return list(kept)[:count]


def write_contexts(contexts: Contexts, space: LabelSpace, path: Path) -> None:
    """CSV as the published code has it: ``;``, numbers from 1, quotes where a field needs them."""
    with atomic(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow(HEADER)
        for number, name in enumerate(space.names, 1):
            writer.writerows([name, number, context] for context in contexts[name])


def read_contexts(path: Path, space: LabelSpace) -> dict[str, list[str]]:
    """The contexts of ``space``'s classes. Classes go by their names; numbers are not looked at. Raises InputError with the
    line for a prompt without exactly one {name}, for a class no one knows, and if a class has none. Prompts of other files may
    say the class's name instead, once."""
    if os.path.isdir(path) or path.suffix.lower() != ".csv":
        return _contexts_of_prompts(path, space)
    found: dict[str, list[str]] = {name: [] for name in space.names}
    for number, (name, _, prompt) in _lines(path):
        label = space.id_of(name)
        if label is None and not space.knows(name):
            hint = ", ".join(nearest(name, space.names)) or "none"
            raise InputError(f"{path} line {number}: {name!r} is not a known class; the nearest known names are {hint}")
        if not _is_context(prompt):
            raise InputError(f"{path} line {number}: prompt {prompt!r}; it should hold {NAME} once and no other braces")
        if len(prompt) > MAX_PROMPT_LENGTH:
            raise InputError(
                f"{path} line {number}: the prompt has {len(prompt)} characters, at most {MAX_PROMPT_LENGTH}"
            )
        if label is not None:
            found[space.names[label]].append(prompt)
    return _complete(found, path)


def _complete(found: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    absent = [name for name, contexts in found.items() if not contexts]
    if absent:
        raise InputError(f"{path}: no prompt for {', '.join(absent)}; add a line for each")
    return found


def _contexts_of_prompts(path: Path, space: LabelSpace) -> dict[str, list[str]]:
    """Prompts of one class each, with {name} where they name it."""
    found: dict[str, list[str]] = {name: [] for name in space.names}
    patterns = {label.name: naming_pattern(label) for label in space.labels}
    for prompt in read_prompt_file(path, space, must_name=True)[0]:
        context, times = patterns[prompt.labels[0]].subn(NAME, prompt.text)
        if len(prompt.labels) == 1 and times == 1 and _is_context(context):
            found[prompt.labels[0]].append(context)
    return _complete(found, path)


def _is_context(text: str) -> bool:
    return NAME in text and not set("{}") & set(text.replace(NAME, "", 1))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The rows below the header, each with the number of its last line."""
    text = read_text(path, f"lines of {';'.join(HEADER)}", kind="a readable CSV")
    try:
        reader = csv.reader(io.StringIO(text), delimiter=";", strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV ({reason_of(error)}); expected {';'.join(HEADER)}") from error
    if not rows or rows[0][1] != HEADER:
        found = ";".join(rows[0][1]) if rows else "nothing"
        raise InputError(f"{path}: its first line is {found!r}; expected {';'.join(HEADER)}")
    for number, row in rows:
        if len(row) != len(HEADER):
            raise InputError(
                f"{path} line {number}: {len(row)} fields; expected {len(HEADER)}, with quotes around one that holds a ';'"
            )
    return rows[1:]
