"""The bag of tricks of "Diversity is Definitely Needed" (Shipard et al. 2023): prompt grammars and guidance rules.

A trick is templates and a guidance rule. Every trick raises the diversity of the set, none narrows the gap to real
images; that is the paper's thesis (sec. 3).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import pyarrow.parquet as pq
from pydantic import model_validator

from figment.errors import InputError
from figment.labels import Label, LabelSpace, nearest
from figment.types import Guidance, Settings

TRICKS = ["base_class", "class_prompt", "multi_domain", "random_guidance"]  # the paper's
RANDOM_GUIDANCE = (1.0, 5.0)  # sec. 3.3; per image, uniform
# What takes "an": vowels, but for those said as "you" or "won"; a silent h; letters that are spelled out.
AN = re.compile(
    r"(?!uni(?:[cfqtv]|on)|us[aeu]|ut[ei]|ur[aei]|eu|ewe|one\b|once\b|(?:ufo|usb|uk|uv)\b|ukulele|u-)[aeiou]"
    r"|hour|honest|honou?r|heir|x-?ray|(?-i:[FHLMNRSX]\b|MRI|SUV|LED|LCD|RV|MP3|HD)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Grammar:
    """How prompts call a class in its base form and in a domain, and the paper's domains."""

    base: str
    in_domain: str
    domains: tuple[str, ...]


GRAMMARS = {
    "cifar": Grammar(
        "an image of a {name}",
        "a {domain} of a {name}",
        (
            "photo", "drawing", "painting", "sketch", "collage",
            "poster", "digital art image", "rock drawing", "stick figure", "3D rendering",
        ),
    ),
    "eurosat": Grammar(  # the paper does not print this base prompt; it says that a satellite must be spoken of
        "a satellite photo of a {name}",
        "a satellite photo of a {name} in the style of a {domain}",
        ("realistic photo", "drawing", "painting", "sketch", "3D rendering"),
    ),
}  # fmt: skip


class Wording(Settings):
    """What the tricks say and draw, beyond their names."""

    grammar: Literal["cifar", "eurosat"] = "cifar"
    # random_guidance as the published code has it: "an image of dog", and one whole number for all of a run's images
    as_published: bool = False
    # every n-th image of each of multi_domain's n prompts starts from the same noise (the paper's figure 2): one shape
    # in all domains
    paired_noise: bool = False
    # the range that random_guidance draws from
    random_guidance: tuple[Guidance, Guidance] = RANDOM_GUIDANCE

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        low, high = self.random_guidance
        if low >= high:
            raise ValueError(f"random_guidance {low:g} to {high:g} is no range; give a lower and a higher scale")
        if self.as_published and not (low.is_integer() and high.is_integer()):
            raise ValueError(f"random_guidance {low:g} to {high:g}: as_published draws whole numbers; give whole ends")
        return self


@dataclass(frozen=True)
class Trick:
    """``templates`` hold ``{name}`` or ``{clear_name}``; ``domains`` runs beside them; ``guidance`` is the set's scale or,
    as a pair, a range that is drawn from for every image, or ``once`` a run in whole numbers."""

    name: str
    templates: tuple[str, ...]
    domains: tuple[str, ...]
    guidance: float | tuple[float, float]
    once: bool = False
    paired_noise: bool = False


@dataclass(frozen=True)
class Prompt:
    """A text that asks for ``labels``, and where it came from."""

    text: str
    labels: tuple[str, ...]
    trick: str
    domain: str = ""
    source: str = "template"


def build_tricks(
    names: Sequence[str], domains: Sequence[str] | None, guidance_scale: float, wording: Wording | None = None
) -> list[Trick]:
    """The tricks called ``names``. The paper's, in its words: base_class, class_prompt, multi_domain (over ``domains``, or
    the grammar's own), random_guidance. Beside them clear_name: the base prompt with the right article and, where the
    class has one, the hint that tells it from its homonyms ("an image of an apple fruit")."""
    wording = wording or Wording()
    grammar = GRAMMARS[wording.grammar]
    domains = tuple(grammar.domains if domains is None else domains)
    for i, domain in enumerate(domains):
        if "{" in domain or "}" in domain:
            raise InputError(f"domains[{i}]: {domain!r} holds a brace; give plain words, such as 'sketch'")
    random_base = grammar.base.replace("a {name}", "{name}") if wording.as_published else grammar.base
    known = {
        trick.name: trick
        for trick in (
            Trick("base_class", (grammar.base,), ("",), guidance_scale),
            Trick("class_prompt", ("{name}",), ("",), guidance_scale),
            Trick(
                "multi_domain",
                tuple(grammar.in_domain.replace("{domain}", domain) for domain in domains),
                domains,
                guidance_scale,
                paired_noise=wording.paired_noise,
            ),
            Trick("random_guidance", (random_base,), ("",), wording.random_guidance, once=wording.as_published),
            Trick("clear_name", (grammar.base.replace("a {name}", "{clear_name}"),), ("",), guidance_scale),
        )
    }
    for i, name in enumerate(names):
        if name not in known:
            hint = nearest(name, known) or list(known)
            raise InputError(
                f"tricks[{i}]: {name!r} is not a trick; did you mean {hint[0]!r}? known are {', '.join(known)}"
            )
    return [known[name] for name in names]


def scales_of(tricks: Sequence[Trick]) -> tuple[float, ...]:
    """The guidance scales of the tricks, of a range both ends."""
    rules = (trick.guidance if isinstance(trick.guidance, tuple) else (trick.guidance,) for trick in tricks)
    return tuple(float(scale) for rule in rules for scale in rule)


def write_prompts(labels: LabelSpace, tricks: Sequence[Trick]) -> list[Prompt]:
    """One prompt for each class and template of each trick: the prompt book of the recipe."""
    return [
        Prompt(template.format(name=label.prompt_name, clear_name=clear_name(label)), (label.name,), trick.name, domain)
        for trick in tricks
        for label in labels.labels
        for template, domain in zip(trick.templates, trick.domains, strict=True)
    ]


def clear_name(label: Label) -> str:
    """The class with its article and its hint: ``an apple fruit``."""
    article = "an" if AN.match(label.prompt_name) else "a"
    return f"{article} {label.prompt_name} {label.hint}".rstrip()


def read_prompts(path: Path) -> list[Prompt]:
    """A prompt book from its Parquet file."""
    return [Prompt(**{**row, "labels": tuple(row["labels"])}) for row in pq.read_table(path).to_pylist()]
