"""LabelSpace: the names of classes, how prompts call them, and what else they may be called."""

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from figment.errors import InputError

MAX_NAME_LENGTH = 64


def key(name: str) -> str:
    """The spelling under which names are compared: case and ``_`` or ``-`` for a space make no difference."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _joined(name: str) -> str:
    """``key`` without its spaces: ``AnnualCrop`` is ``annual crop``."""
    return key(name).replace(" ", "")


def check_name(name: object, where: str) -> str:
    """Return ``name`` if it can safely be a class name: it will stand in prompts, tables and reports."""
    example = "a class name is a word or a few, such as 'traffic light'"
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: {name!r} is empty or not text; {example}")
    if len(name) > MAX_NAME_LENGTH:
        raise InputError(f"{where}: {name[:40]!r}... has {len(name)} characters, at most {MAX_NAME_LENGTH}; {example}")
    for character in name:
        if unicodedata.category(character).startswith("C") or character in '/\\{}<>"':
            raise InputError(f"{where}: {name!r} contains {character!r}; {example}")
    if name.startswith("."):
        raise InputError(f"{where}: {name!r} starts with a dot; {example}")
    return name


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Known names that look or read most like ``name``, best first."""
    by_key = {key(k): k for k in known}
    return [by_key[k] for k in difflib.get_close_matches(key(name), by_key, n=count, cutoff=0.3)]


class Label(BaseModel):
    """One class. ``name`` is the official one (folders, ids); ``prompt_name`` is what prompts say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    prompt_name: str = ""
    synonyms: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _say_spaces(self) -> "Label":
        if not self.prompt_name:
            object.__setattr__(self, "prompt_name", self.name.replace("_", " "))
        return self


class LabelSpace(BaseModel):
    """An ordered set of classes; a class's id is its position. ``others``: names that are known but were not chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, ...]
    others: tuple[str, ...] = ()

    def checked(self) -> "LabelSpace":
        """Itself, or an InputError for a name that cannot be one or that is listed twice."""
        for i, label in enumerate(self.labels):
            check_name(label.name, f"classes[{i}]")
            check_name(label.prompt_name, f"classes[{i}].prompt_name")
        for name, count in Counter(key(label.name) for label in self.labels).items():
            if count > 1:
                raise InputError(f"classes: {name!r} is listed more than once; list each class once")
        return self

    @classmethod
    def of(cls, names: Sequence[str]) -> "LabelSpace":
        return cls(labels=tuple(Label(name=name) for name in names)).checked()

    @classmethod
    def load(cls, path: Path) -> "LabelSpace":
        """Read a YAML file ``labels: [{name, prompt_name?, synonyms?}, ...]``."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).checked()
        except OSError as error:
            raise InputError(f"label space {path}: {error.strerror}; give the path of a YAML file of labels") from error
        except (yaml.YAMLError, ValidationError) as error:
            raise InputError(
                f"label space {path}: {str(error).splitlines()[0]}; expected 'labels: [{{name: ...}}]'"
            ) from error

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @cached_property
    def _ids(self) -> dict[str, int]:
        spellings = [(key(word), i) for i, label in enumerate(self.labels) for word in label.synonyms]
        exact = dict(spellings) | {key(label.name): i for i, label in enumerate(self.labels)}
        return {_joined(name): i for name, i in exact.items()} | exact

    def __len__(self) -> int:
        return len(self.labels)

    def id_of(self, name: str) -> int | None:
        """The id of a class by its name or a synonym, tolerant of case, underscores and spaces; None if it is not one."""
        return self._ids.get(key(name), self._ids.get(_joined(name)))

    def knows(self, name: str) -> bool:
        """Whether ``name`` is a class of this space, or of the one that it was chosen from."""
        return self.id_of(name) is not None or _joined(name) in {_joined(other) for other in self.others}

    def choose(self, names: Sequence[str]) -> "LabelSpace":
        """The classes of ``names``, at least two, in that order, with what is known of them."""
        if len(names) < 2:
            found = "no class" if not names else f"only {names[0]!r}"
            raise InputError(f"classes: {found} is listed; a classifier needs at least two classes")
        chosen = []
        for i, name in enumerate(names):
            found_id = self.id_of(check_name(name, f"classes[{i}]"))
            if found_id is None:
                hint = nearest(name, self.names) or list(self.names[:5])
                raise InputError(
                    f"classes[{i}]: {name!r} is not a known class; the nearest known names are {', '.join(hint)}"
                )
            chosen.append(self.labels[found_id])
        kept = {label.name for label in chosen}
        rest = [word for label in self.labels if label.name not in kept for word in (label.name, *label.synonyms)]
        return LabelSpace(labels=tuple(chosen), others=(*self.others, *rest)).checked()
