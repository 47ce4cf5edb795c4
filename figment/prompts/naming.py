"""Whether a text names a class: by its name, its prompt name or a synonym, singular or plural."""

import re

from figment.labels import Label, key

IRREGULAR = {
    "person": ("people",), "man": ("men",), "woman": ("women",), "child": ("children",), "mouse": ("mice",),
    "goose": ("geese",), "foot": ("feet",), "tooth": ("teeth",), "ox": ("oxen",), "cactus": ("cacti",),
}  # fmt: skip
SINGULAR = {plural: one for one, plurals in IRREGULAR.items() for plural in plurals}


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
