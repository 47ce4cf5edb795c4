"""The bag of tricks of "Diversity is Definitely Needed" (Shipard et al. 2023): prompt grammars and guidance rules.

A trick is templates and a guidance rule. Every trick raises the diversity of the set, none narrows the gap to real
pictures; that is the paper's thesis (sec. 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from figment.errors import InputError
from figment.labels import LabelSpace, nearest

BASE_TEMPLATE = "an image of a {name}"
RANDOM_GUIDANCE = (1.0, 5.0)  # sec. 3.3; per image, uniform


@dataclass(frozen=True)
class Trick:
    """``templates`` hold ``{name}``; ``domains`` runs beside them; ``guidance`` is the set's scale or, as a pair, a range."""

    name: str
    templates: tuple[str, ...]
    domains: tuple[str, ...]
    guidance: float | tuple[float, float]


@dataclass(frozen=True)
class Prompt:
    """A text that asks for ``labels``, and where it came from."""

    text: str
    labels: tuple[str, ...]
    trick: str
    domain: str = ""
    source: str = "template"


def build_tricks(names: Sequence[str], domains: Sequence[str], guidance_scale: float) -> list[Trick]:
    """The tricks called ``names``, in the paper's words: base_class, class_prompt, multi_domain, random_guidance."""
    known = {
        "base_class": Trick("base_class", (BASE_TEMPLATE,), ("",), guidance_scale),
        "class_prompt": Trick("class_prompt", ("{name}",), ("",), guidance_scale),
        "multi_domain": Trick(
            "multi_domain", tuple(f"a {domain} of a {{name}}" for domain in domains), tuple(domains), guidance_scale
        ),
        "random_guidance": Trick("random_guidance", (BASE_TEMPLATE,), ("",), RANDOM_GUIDANCE),
    }
    for i, name in enumerate(names):
        if name not in known:
            hint = nearest(name, known) or list(known)
            raise InputError(
                f"tricks[{i}]: {name!r} is not a trick; did you mean {hint[0]!r}? known are {', '.join(known)}"
            )
    return [known[name] for name in names]


def write_prompts(labels: LabelSpace, tricks: Sequence[Trick]) -> list[Prompt]:
    """One prompt for each class and template of each trick: the prompt book of the recipe."""
    return [
        Prompt(template.format(name=label.prompt_name), (label.name,), trick.name, domain)
        for trick in tricks
        for label in labels.labels
        for template, domain in zip(trick.templates, trick.domains, strict=True)
    ]


def read_prompts(path: Path) -> list[Prompt]:
    """A prompt book from its Parquet file."""
    return [Prompt(**{**row, "labels": tuple(row["labels"])}) for row in pq.read_table(path).to_pylist()]
