"""From a chat model's raw answer to clean prompts. What a model writes is untrusted: parsed strictly, every drop named."""

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from figment.labels import Label, key

MAX_PROMPT_LENGTH = 400  # characters; a text encoder reads some 77 tokens

# 1.  1)  (1)  [1]  #1  1:  1 -  1.)  Prompt 1:  **1.**  and the same behind a bullet
NUMBER = re.compile(
    r"^(?:[-*•‣–—]\s+)?(?:(?:caption|prompt|phrase|image|picture|description|sentence)\s+)?"
    r"(?:#\s?)?[(\[]?(?P<number>\d{1,3})(?:[.)\]:]+|\s+[-–—](?=\s)|\s*[、．）])\s*(?=\D|$)",
    re.IGNORECASE,
)
BULLET = re.compile(r"^[-*•‣–—]\s+")
REASONING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
EMPHASIS = re.compile(r"(\*\*|__|`|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w))")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
PAIRED_QUOTES = tuple(zip("\"“„„«‘'「", "\"”“”»’'」", strict=True))

# How a model talks to its reader. None of it describes a picture.
_TEXTS = r"(?:phrase|caption|prompt|description|sentence|example|idea|suggestion|list)s?\b"
_HELPERS = (
    r"hope|can(?:not|'t|’t)?|could|would|am|apologi[sz]e|understand|have|happy|be|think|tried|need|must|will|made"
)
CHAT = re.compile(
    r"^(?:"
    r"sure\b\s*[,.!:;—-]|of course\b|(?:certainly|absolutely|okay|ok|great)\b\s*[,.!:;]|"
    rf"here(?:'s|’s| is| are)\b.*\b(?:{_TEXTS}|you (?:are|go))|here you (?:are|go)\b|"
    rf"(?:i|we)(?:'m|’m|'d|’d|'ll|’ll|'ve|’ve)?\s+(?:{_HELPERS})\b|i(?:'m|’m|'d|’d|'ll|’ll|'ve|’ve)\b|"
    r"sorry\b|please\b|let me know\b|feel free\b|"
    rf"(?:each|all|every)(?: one)?(?: of (?:the|these|them))?\s*{_TEXTS}|"
    rf"(?:these|those|the (?:above|following)|this|my)\s+(?:\w+\s+){{0,2}}{_TEXTS}|"
    r"as an ai\b|note\s*(?:that\b|:)|thank(?:s| you)\b|would you like\b|do you (?:want|need)\b|is there anything\b|"
    r"(?:hope|hoping) (?:this|these|that|it)\b|enjoy[!.]|happy (?:painting|creating|generating)\b|"
    r"(?:system|user|assistant)\s*:|<\|?/?\w+\|?>|\[/?inst\]"
    r")",
    re.IGNORECASE,
)

IRREGULAR = {
    "person": ("people",), "man": ("men",), "woman": ("women",), "child": ("children",), "mouse": ("mice",),
    "goose": ("geese",), "foot": ("feet",), "tooth": ("teeth",), "ox": ("oxen",), "cactus": ("cacti",),
}  # fmt: skip
SINGULAR = {plural: one for one, plurals in IRREGULAR.items() for plural in plurals}


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

    In an answer with numbered lines only these count; else the bullets; else every line that is not chat. A label is
    named by its name, its prompt name or a synonym, singular or plural, as whole words in any case.
    """
    patterns = [naming_pattern(label) for label in labels]
    prompts: list[str] = []
    drops: list[Drop] = []
    seen: set[str] = set()
    for item, is_listed in _items(text):
        prompt = clean(item)
        letters = re.sub(r"\W+", " ", prompt.casefold()).strip()
        if not letters:
            reason = "empty"
        elif CHAT.match(prompt) or prompt.endswith((":", "?")):
            reason = "chat"
        elif not is_listed:
            reason = "not_listed"
        elif not all(pattern.search(prompt) for pattern in patterns):
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
    text = REASONING.sub("\n", text)
    if listed := _json_strings(text):
        return [(" ".join(_visible(item).split()), True) for item in listed]
    lines = [" ".join(_visible(line).split()) for line in text.splitlines()]
    plain = [part for line in lines for part in _split_run(line.lstrip("> ") if line.startswith(">") else line)]
    bare = [EMPHASIS.sub("", _unquoted(line)) if _opens_item(line) else line for line in plain]
    if any(NUMBER.match(line) for line in bare):
        marker = NUMBER
    elif any(BULLET.match(line) for line in bare):
        marker = BULLET
    else:
        return [(line, not _is_markup(line)) for line in bare if line]
    items: list[tuple[str, bool]] = []
    for before, line in zip(["", *bare], bare, strict=False):
        if found := marker.match(line):
            items.append((line[found.end() :], True))
        elif line and before and items and items[-1][1] and _continues(items[-1][0], line):
            items[-1] = (f"{items[-1][0]} {line}".strip(), True)
        elif line:
            items.append((line, False))
    return items


def _opens_item(line: str) -> bool:
    """Whether a number or bullet stands behind no more than emphasis or quotes."""
    return bool(re.match(r"^[-•\s\"'“*_`#(\[]*(?:\w+ )?\d{1,3}", line))


def _json_strings(text: str) -> list[str]:
    """The strings of a JSON array, if the answer holds one."""
    found = re.search(r"\[\s*\".*\"\s*\]", text, re.DOTALL)
    try:
        values = json.loads(found.group()) if found else []
    except ValueError:
        return []
    return values if all(isinstance(value, str) for value in values) else []


def _split_run(line: str) -> list[str]:
    """``1. This. 2. That.`` as two lines, if the numbers follow each other."""
    found = NUMBER.match(line)
    after = found and re.search(rf"\s(?={int(found['number']) + 1}[.)]\s)", line)
    return [line[: after.start()], *_split_run(line[after.end() :])] if after else [line]


def _unquoted(line: str) -> str:
    """``"1. This.",`` without what encloses the number too."""
    return line.strip("\"'“”,") if line[0] in "\"'“" else line


def _continues(item: str, line: str) -> bool:
    """Whether ``line`` is the rest of a wrapped item: the item is bare or unfinished, and the line no start of its own."""
    if not item:
        return not CHAT.match(line)
    return item[-1] not in '.!?"”' and line[0].islower()


def _is_markup(line: str) -> bool:
    """Headings, rules, fences and brackets of lists."""
    return line.startswith(("#", "```")) or not any(character.isalpha() for character in line)


def _visible(line: str) -> str:
    """Without control and format characters (zero-width spaces, direction marks), in composed form."""
    kept = "".join(c if c.isspace() or not unicodedata.category(c).startswith("C") else "" for c in line)
    return unicodedata.normalize("NFC", kept)


def clean(item: str) -> str:
    """A piece of an answer without markdown, enclosing quotes and list commas."""
    text = EMPHASIS.sub("", LINK.sub(r"\1", BULLET.sub("", item.strip()))).strip()
    text = re.sub(r"^(?:caption|prompt|phrase)\s*:\s*", "", text, flags=re.IGNORECASE)
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


def naming_pattern(label: str | Label) -> re.Pattern[str]:
    """Matches a text that names ``label`` or one of its synonyms, singular or plural; ``-``, ``_`` and spaces are one."""
    names = [label] if isinstance(label, str) else [label.name, label.prompt_name, *label.synonyms]
    forms = {form for name in names for form in _forms(name)}
    words = "|".join(sorted((_spaced(form) for form in forms), key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{words})(?![^\W_])", re.IGNORECASE)


def _spaced(form: str) -> str:
    return r"[\s_-]+".join(re.escape(word) for word in form.split())


def _forms(name: str) -> set[str]:
    """A name as it is and in the other number; the last word is the one that changes."""
    words = key(name).split()
    first, last = words[:-1], words[-1]
    singulars = {last, *_singulars(last)}
    forms = singulars | {plural for one in singulars for plural in _plurals(one)}
    return {" ".join([*first, form]) for form in forms}


def _plurals(word: str) -> set[str]:
    plurals = {word + "s", *IRREGULAR.get(word, ())}
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        plurals.add(word + "es")
    if re.search(r"[^aeiou]y$", word):
        plurals.add(word[:-1] + "ies")
    if word.endswith("fe"):
        plurals.add(word[:-2] + "ves")
    elif word.endswith("f"):
        plurals.add(word[:-1] + "ves")
    return plurals


def _singulars(word: str) -> set[str]:
    if word in SINGULAR:
        return {SINGULAR[word]}
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return set()
    singulars = {word[:-1]}
    if re.search(r"(s|x|z|ch|sh|o)es$", word):
        singulars.add(word[:-2])
    if word.endswith("ies"):
        singulars.add(word[:-3] + "y")
    if word.endswith("ves"):
        singulars |= {word[:-3] + "f", word[:-3] + "fe"}
    return singulars
