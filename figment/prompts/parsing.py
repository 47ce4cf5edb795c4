"""From a chat model's raw answer to clean prompts. What a model writes is untrusted: parsed strictly, every drop named."""

import html
import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from figment.labels import Label
from figment.prompts.naming import naming_pattern

MAX_PROMPT_LENGTH = 400  # characters; a text encoder reads some 77 tokens

# <think>, [THINK], ◁think▷, <seed:think>. Many a chat template opens it itself, so that the answer only closes it.
_THINK = r"(?:\w+:)?(?:think(?:ing)?|thought|reasoning)[>\]▷]"
REASONING = re.compile(
    rf"\A(?:.*[<\[◁]/{_THINK}|.*<\|channel\|>final<\|message\|>)|[<\[◁]{_THINK}.*", re.DOTALL | re.IGNORECASE
)
# What else stands around a prompt, and what it becomes; line by line.
MARKUP = [
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE), becomes)
    for pattern, becomes in (
        (r"^\s*```\w*\s*$", ""),
        (r"</?(?:b|i|u|em|strong|span|code|mark)\b[^<>\n]*>", ""),
        (r"<li\b[^<>\n]*>", "\n- "),
        (r"<[/|!]{0,2}\w[^<>\n]{0,80}>", "\n"),  # any other tag, <|im_end|>, </s>
        (r"\\(?=[^\w\s])", ""),  # 1\.
        (  # **A title:** before the prompt
            r"^((?:[^\w\n]|\d)*?)\*{1,2}(?!note|tip)[^\s*\d][^*\d\n]*(?::\*{1,2}|\*{1,2}\s?[:–—-])[ \t]+(?=\S)",
            r"\1",
        ),
        (r"(?<=\d)\ufe0f?\u20e3", "."),  # 1 in a keycap
        (r"^\s*[①-⓿❶-➓🔟]", "1. "),
        (r"[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]", ""),  # arrows, other symbols and emoji
    )
]
_KIND = r"(?:caption|prompt|phrase|description|sentence|image|picture|photo|painting|scene|example|option|idea|item)"
# 1.  1)  (1)  [1]  #1  1:  1 -  1/  1 |  1.)  No. 1:  Prompt 1:  a)  iv.  Caption 1, all behind a bullet or ### too
NUMBER = re.compile(
    rf"^[-*+•‣–—#\s]*(?:(?:{_KIND}\s+)?(?:(?:no|nr)\b\.?\s*)?(?:#\s?)?[(\[]?(?P<number>\d{{1,3}})"
    r"(?:[.)\]:]+|\s*[-–—](?=\s)|\s*[、．）]|\s*[/|](?=\s))\s*(?=\D|$)"
    rf"|[(\[]?(?:[a-z]|[ivx]{{2,5}})[.)\]]+\s+|{_KIND}\s+\d{{1,3}}(?:$|\s+(?=(?-i:[A-Z]))))",
    re.IGNORECASE,
)
BULLET = re.compile(r"^(?:[-*+~•‣⁃·–—]|[-=]+>)\s+(?:\[[ x]?\]\s+)?")
EMPHASIS = re.compile(r"(\*\*|__|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))")
LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")
PAIRED_QUOTES = tuple(zip("\"“„„«‘'「", "\"”“”»’'」", strict=True))

# How a model talks to its reader. None of it describes a picture.
_TEXTS = (
    r"(?:(?:phrase|caption|prompt|description|sentence|example|idea|suggestion|list)s?|"
    r"(?:image|picture|photo|painting|scene)s)\b"
)
_HELPERS = (
    r"hope|can(?:not|'t|’t)?|could|would|am|apologi[sz]e|understand|have|happy|be|think|tried|need|must|will|made"
)
CHAT = re.compile(
    r"^\(?(?:"
    r"sure\b\s*[,.!:;—-]|of course\b|(?:certainly|absolutely|okay|ok|great|alright|yes|got it)\b\s*[,.!:;]|"
    rf"here(?:'s|’s| is| are)\b.*\b(?:{_TEXTS}|you (?:are|go))|here you (?:are|go)\b|(?:below|above) (?:are|is|you)\b|"
    rf"(?:i|we)(?:'m|’m|'d|’d|'ll|’ll|'ve|’ve)?\s+(?:{_HELPERS})\b|i(?:'m|’m|'d|’d|'ll|’ll|'ve|’ve)\b|"
    r"you(?:r|'ll|’ll|'re|’re)?\b|(?:if|should|as) you\b|as requested\b|the user\b|let(?:'s|’s| me)\b|"
    r"(?:hmm|wait|so|now|first|next|maybe|alternatively)\s*,|"
    r"sorry\b|please\b|feel free\b|remember\b|don['’]t (?:hesitate|forget)\b|"
    rf"(?:(?:in|for|with)\s+)?(?:each|all|every)(?: one)?(?: of (?:the|these|them))?\s*{_TEXTS}|"
    rf"(?:(?:in|for|with)\s+)?(?:these|those|the (?:above|following)|this|my)\s+(?:[\w'’-]+\s+){{0,4}}{_TEXTS}|"
    r"(?:captions|prompts|phrases)\s+(?:of|for|with|about)\b|.{0,60}\b(?:captions|prompts|phrases)$|"
    r"as an ai\b|(?:note|tip)s?\s*:|note that\b|thank(?:s| you)\b|"
    r"would you like\b|do you (?:want|need)\b|is there anything\b|"
    r"(?:hope|hoping) (?:this|these|that|it)\b|enjoy[!.]|happy (?:painting|creating|generating)\b|"
    r"(?:system|user|assistant)\s*:|\[/?inst\]"
    r")",
    re.IGNORECASE,
)


class Drop(NamedTuple):
    """A piece of an answer that is no usable prompt: ``chat``, ``not_listed``, ``missing_label``, ``duplicate``,
    ``too_long``, ``empty`` or ``surplus`` (more than were asked for)."""

    text: str
    reason: str


class Parsed(NamedTuple):
    """Clean prompts in the order of the answer, and what was dropped."""

    prompts: list[str]
    drops: list[Drop]


def parse_response(text: str, labels: Sequence[str | Label], count: int) -> Parsed:
    """At most ``count`` prompts from a raw answer, each of which names every one of ``labels``.

    JSON's strings come first. In an answer with numbered lines only these count, and the lines under one that is a mere
    title; else the bullets; else every line that is not chat. A label is named by its name, its prompt name or a synonym,
    singular or plural, as whole words in any case.
    """
    text = REASONING.sub("\n", text)
    parsed = _sift(_items("\n".join(_json_strings(text))), labels, count)
    return parsed if parsed.prompts else _sift(_items(text), labels, count)


def _sift(items: Sequence[tuple[str, bool]], labels: Sequence[str | Label], count: int) -> Parsed:
    """The items that are prompts, and a reason for each that is none."""
    patterns = [naming_pattern(label) for label in labels]
    prompts: list[str] = []
    drops: list[Drop] = []
    seen: set[str] = set()
    under_title = False
    for item, is_listed in items:
        prompt = clean(item)
        letters = re.sub(r"\W+", " ", prompt.casefold()).strip()
        names_all = all(pattern.search(prompt) for pattern in patterns)
        if is_listed:
            under_title = not names_all and prompt[-1:] not in (".", "!", "?")
        elif _is_markup(item):
            under_title = False
        if not letters:
            reason = "empty"
        elif CHAT.match(prompt) or prompt.endswith((":", "?")):
            reason = "chat"
        elif not is_listed and not under_title:
            reason = "not_listed"
        elif not names_all:
            reason = "missing_label"
        elif len(prompt) > MAX_PROMPT_LENGTH:
            reason = "too_long"
        elif letters in seen:
            reason = "duplicate"
        elif len(prompts) == count:
            reason = "surplus"
        else:
            seen.add(letters)
            prompts.append(prompt)
            continue
        drops.append(Drop(item.strip(), reason))
    return Parsed(prompts, drops)


def _items(text: str) -> list[tuple[str, bool]]:
    """(piece without its number or bullet, whether it is an item of the answer's list), blank lines left out."""
    for pattern, becomes in MARKUP:
        text = pattern.sub(becomes, text)
    lines = [part for line in text.splitlines() for part in _split_run(_plain(line))]
    marker = next((marker for marker in (NUMBER, BULLET) if any(map(marker.match, lines))), None)
    if marker is None:
        return [(line, not _is_markup(line)) for line in lines if line]
    items: list[tuple[str, bool]] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if found := marker.match(line):
            items.append((line[found.end() :], True))
        elif line and items and items[-1][1] and (before or not items[-1][0]) and _continues(items[-1][0], line):
            items[-1] = (f"{items[-1][0]} {line}".strip(), True)
        elif line:
            items.append((line, False))
    return items


def _json_strings(text: str) -> list[str]:
    """The strings of all JSON arrays and objects in an answer, each as one line."""
    decoder = json.JSONDecoder(strict=False)
    strings: list[str] = []
    end = 0
    while found := re.compile(r"[\[{]").search(text, end):
        try:
            value, end = decoder.raw_decode(text, found.start())
            strings += _strings(value)
        except ValueError:
            end = found.end()
        except RecursionError:
            break
    return [" ".join(string.split()) for string in strings]


def _strings(value: Any) -> list[str]:
    """The strings of a JSON value; of an object's own only the longest (not its title), if its keys are no numbers."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        own = [part for part in value.values() if isinstance(part, str)]
        if not all(re.search(r"\d", name) for name in value):
            own = sorted(own, key=len)[-1:]
        return own + _strings([part for part in value.values() if not isinstance(part, str)])
    return [string for part in value for string in _strings(part)] if isinstance(value, list) else []


def _split_run(line: str) -> list[str]:
    """``1. This. 2. That.`` as two lines, if the numbers follow each other; what stands before them is a line too."""
    first = NUMBER.match(line)
    number = int(first["number"]) if first and first["number"] else 1
    starts: list[int] = []
    end = 0
    while found := re.compile(rf"(?<!\S){number + len(starts)}[.)]\s").search(line, end):
        starts.append(found.start())
        end = found.end()
    bounds = [0, *starts, len(line)] if len(starts) > 1 else [0, len(line)]
    return [line[start:end].strip() for start, end in pairwise(bounds)]


def _plain(line: str) -> str:
    """A line in composed form without emphasis and what encloses its number; of a table's row the number and longest cell."""
    line = html.unescape(line)
    line = "".join(c if c.isspace() or not unicodedata.category(c).startswith("C") else "" for c in line)
    line = " ".join(EMPHASIS.sub("", unicodedata.normalize("NFC", line)).split())
    line = line.lstrip("> ") if line.startswith(">") else line
    if line.startswith(('"', "'", "“")) and NUMBER.match(line[1:]):
        return line.strip("\"'“”,")
    if line.startswith("|"):
        cells = [cell.strip() for cell in line.split("|")]
        return f"{cells[1]} | " * cells[1].isdigit() + max(cells, key=len)
    return line


def _continues(item: str, line: str) -> bool:
    """Whether ``line`` is the rest of a wrapped item: the item is bare or unfinished, and the line no start of its own."""
    if not item:
        return not CHAT.match(line)
    return item[-1] not in '.!?"”' and line[0].islower()


def _is_markup(line: str) -> bool:
    """Headings, rules and brackets of lists."""
    return line.startswith("#") or not any(character.isalpha() for character in line)


def clean(item: str) -> str:
    """A piece of an answer without markdown, enclosing quotes, list commas and its count of words."""
    text = EMPHASIS.sub("", LINK.sub(r"\1", BULLET.sub("", item.strip()))).strip()
    text = re.sub(rf"^[\"']?{_KIND}(?: \w+)?[\"']?\s*:\s*", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\s*[(\[](?:word count: )?\d+ words?[)\]]\.?$", "", text, flags=re.IGNORECASE)
    previous = None
    while text != previous:
        previous = text
        text = text.strip().rstrip(",;").strip()
        for opening, closing in PAIRED_QUOTES:
            inner = re.sub(r"(?<=\w)['’](?=\w)", "", text[1:-1])  # an apostrophe is no quote
            if len(text) > 1 and text[0] == opening and text[-1] == closing and not {opening, closing} & set(inner):
                text = text[1:-1]
            elif len(text) > 2 and text[0] == opening and text[-2:] == closing + "." and opening not in text[1:-2]:
                text = text[1:-2] + "."
    return text
