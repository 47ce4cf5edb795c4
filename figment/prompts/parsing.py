"""From a chat model's raw answer to clean prompts. What a model writes is untrusted: parsed strictly, every drop named."""

import contextlib
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

# Where JSON, or what a model takes for it, begins: a bracket with a quoted text or a key behind it, or quoted texts and commas.
JSON_START = re.compile(
    r"""[\[{](?:\s*[\[{]){0,3}\s*(?:\\?["'“]|-?\d[\d.]*\s*,\s*["'“\[{])|\{\s*\w+\s*:\s*["'“\[{]"""
    r"""|^[ \t]*"[^"\n]*"[ \t]*,[ \t]*(?=")""",
    re.MULTILINE,
)
# The lines that belong to it: up to a blank line, or one with a number or bullet.
JSON_LINES = re.compile(
    r"""[^\n]*(?:\n(?:[ \t]*\n)*[ \t]*["'“\[\]{}][^\n]*|\n(?![ \t]*(?:\d{1,3}[.):]|[-*•#`]|\n|\Z))[^\n]+)*"""
)
# Its tokens. A text ends where a comma, colon, bracket or line end follows its quote, so it may hold quotes of its own.
JSON_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[\[\]{}:,])"""
    r"""|"(?P<double>(?:\\.|[^\\\n]){0,2000}?)"(?=\s*[,\]}:\n])|'(?P<single>(?:\\.|[^\\\n]){0,2000}?)'(?=\s*[,\]}:\n])"""
    r"""|“(?P<curly>[^”\n]{0,2000})”|(?P<word>-?\w[\w.+-]*))"""
)
WORDS = {"true": "true", "True": "true", "false": "false", "False": "false", "null": "null", "None": "null"}

# How a model talks to its reader. None of it describes an image.
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
    ``too_long``, ``empty``, ``surplus`` (more than were asked for) or ``broken_json``."""

    text: str
    reason: str


class Parsed(NamedTuple):
    """Clean prompts in the order of the answer, and what was dropped."""

    prompts: list[str]
    drops: list[Drop]


def parse_response(text: str, labels: Sequence[str | Label], count: int) -> Parsed:
    """At most ``count`` prompts from a raw answer, each of which names every one of ``labels``.

    JSON's strings come first, and a line with JSON in it is never a prompt itself. In an answer with numbered lines only
    these count, and the lines under one that is a mere title; else the bullets; else every line that is not chat. A label is
    named by its name, its prompt name or a synonym, singular or plural, as whole words in any case.
    """
    text = REASONING.sub("\n", text)
    strings, broken, rest = read_json(text)
    parsed = _sift(_items("\n".join(strings)), labels, count)
    if not parsed.prompts:
        lines = _sift(_items(rest), labels, count)
        parsed = Parsed(lines.prompts, parsed.drops + lines.drops)
    return Parsed(parsed.prompts, parsed.drops + [Drop(piece, "broken_json") for piece in broken])


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


def looks_like_json(text: str) -> bool:
    """Whether a line of ``text`` begins like a list or an object of JSON."""
    return any(not text[text.rfind("\n", 0, m.start()) + 1 : m.start()].strip() for m in JSON_START.finditer(text))


def read_json(text: str, first_only: bool = False) -> tuple[list[str], list[str], str]:
    """The strings of all JSON arrays and objects in an answer (or of the first that has any), each as one line; the pieces
    that look like JSON and are beyond repair; and the lines without any."""
    decoder = json.JSONDecoder(strict=False)
    strings: list[str] = []
    broken: list[str] = []
    rest: list[str] = []
    end = line_end = 0
    while not (first_only and strings) and (found := JSON_START.search(text, end)):
        start, read = found.start(), None
        if text[start] in "[{":
            with contextlib.suppress(ValueError, RecursionError):
                read = decoder.raw_decode(text, start)
        read = read or _repair(text, start)
        texts = _strings(read[0]) if read else []
        lines = None if read else JSON_LINES.match(text, start)
        end = read[1] if read else lines.end() if lines else len(text)
        strings += texts
        if not texts:
            broken.append(text[start:end].strip())
        rest.append(text[line_end : max(line_end, text.rfind("\n", 0, start) + 1)])
        line_end = max(line_end, text.find("\n", end) % (len(text) + 1))
    rest.append(text[line_end:])
    return [" ".join(string.split()) for string in strings], broken, "".join(rest)


def _repair(text: str, start: int) -> tuple[Any, int] | None:
    """The value that begins at ``start``, and its end, if its faults are no more than these: commas too many or too few at
    the end of an item, other quotes, quotes within a text, bare keys, Python's words, no end. None if there are others."""
    closing = {"[": "]", "{": "}"}
    if text[start] not in closing:  # texts and commas of one line
        line = text[start : text.find("\n", start) % (len(text) + 1)]
        read = _repair(f"[{line}]", 0)
        return (read[0], start + len(line)) if read and read[1] == len(line) + 2 else None
    open_: list[str] = []
    out: list[str] = []  # tokens of JSON proper
    end = start
    while open_ or not out:
        token = JSON_TOKEN.match(text, end)
        if token is None:
            tail = text[end:].strip()
            if tail[:1] not in ("", '"', "'", "“", "\\") or "\n" in tail:
                return None
            if out[-1] == ":":
                del out[-2:]
            elif open_[-1] == "{" and out[-1][0] == '"' and out[-2] in "{,":
                del out[-1:]
            out[-1:] = [part for part in out[-1:] if part != ","]
            out += [closing[bracket] for bracket in reversed(open_)]
            end = len(text)
            break
        end = token.end()
        mark, word = token["mark"], token["word"]
        if mark in (",", ":"):
            out.append(mark)
            continue
        if mark in ("]", "}"):
            if closing[open_.pop()] != mark:
                return None
            if out[-1] == ",":
                out.pop()
            out.append(mark)
            continue
        if out and out[-1][-1] not in "[{:,":
            out.append(",")
        if mark:
            open_.append(mark)
            out.append(mark)
        elif word and open_[-1] == "{" and out[-1] != ":":
            out.append(json.dumps(word))
        elif word:
            out.append(WORDS.get(word, word))
        else:
            quoted = token["double"] or token["single"] or token["curly"] or ""
            if re.search(r"""(?<!\\),\s*\\?["'“]""", quoted):  # where one text ends and another begins cannot be known
                return None
            out.append(json.dumps(_unescaped(quoted)))
    try:
        return json.loads("".join(out)), end
    except (ValueError, RecursionError):
        return None


def _unescaped(text: str) -> str:
    """A quoted text without its escapes, where these are JSON's."""
    inner = re.sub(r"\\(['“”])", r"\1", text)
    inner = re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', inner)
    try:
        return json.loads(f'"{inner}"', strict=False)
    except ValueError:
        return text


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
