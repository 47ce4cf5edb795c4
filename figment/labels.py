"""LabelSpace: the names of classes, how prompts call them, and what else they may be called."""

import difflib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from figment.errors import InputError
from figment.reading import kind_of, mapping, name_of, read_yaml
from figment.types import Natural

MAX_NAME_LENGTH = 64


def key(name: str) -> str:
    """The spelling under which names are compared: case, how Unicode writes a character (NFKC) and ``_`` or ``-`` for a space
    make no difference."""
    folded = name.casefold()
    while folded != (again := unicodedata.normalize("NFKC", folded).casefold()):
        folded = again
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


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


def _wrong_entry(error: ValidationError, content: Mapping[str, Any]) -> str:
    """The first entry that is wrong, the class it belongs to, and what was found there."""
    first = error.errors()[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    label = content.get("labels")
    if isinstance(label, list) and first["loc"][:1] == ("labels",) and len(first["loc"]) > 2:
        label = label[int(first["loc"][1])]
    name = f" ({label['name']!r})" if isinstance(label, dict) and isinstance(label.get("name"), str) else ""
    found = first["input"]
    if first["type"] == "extra_forbidden":
        return f"{where}{name} is no field of a label space"
    if first["type"] == "missing":
        return f"{where}{name} is missing"
    value = f" {found!r}" if isinstance(found, str | bool | int | float) else ""
    quotes = ", which in quotes would be text" if isinstance(found, bool | int | float) else ""
    return f"{where}{name} is {kind_of(found)}{value}{quotes} ({first['msg'].lower()})"


class Label(BaseModel):
    """One class. ``name`` is the official one (folders, ids); ``prompt_name`` is what prompts say, ``clip_name`` what CLIP is
    asked for (by default the same)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    prompt_name: str = ""
    clip_name: str = ""
    synonyms: tuple[str, ...] = ()
    unseen: bool = False  # no real image of it may be trained on (zero-shot)
    hint: str = ""  # a word after the name that tells it from its homonyms: apple fruit, beetle insect
    parents: tuple[str, ...] = ()  # classes that are in every image of this one: a dog is an animal
    id: Natural | None = None  # what the data set's own files call it: MS-COCO's category ids have gaps

    @model_validator(mode="after")
    def _say_spaces(self) -> "Label":
        if not self.prompt_name:
            object.__setattr__(self, "prompt_name", self.name.replace("_", " "))
        if not self.clip_name:
            object.__setattr__(self, "clip_name", self.prompt_name)
        return self


class LabelSpace(BaseModel):
    """An ordered set of classes; a class's id is its position. ``others``: names that are known but were not chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, ...]
    others: tuple[str, ...] = ()
    confusable: tuple[tuple[str, str], ...] = ()  # pairs that a generator or CLIP takes for each other

    def checked(self) -> "LabelSpace":
        """Itself, or an InputError for a name that cannot be one, that is listed twice, or that refers to no class."""
        for i, label in enumerate(self.labels):
            check_name(label.name, f"classes[{i}]")
            check_name(label.prompt_name, f"classes[{i}].prompt_name")
            check_name(label.clip_name, f"classes[{i}].clip_name")
            if label.hint:
                check_name(label.hint, f"classes[{i}].hint")
        for name, count in Counter(key(label.name) for label in self.labels).items():
            if count > 1:
                raise InputError(f"classes: {name!r} is listed more than once; list each class once")
        self._check_synonyms()
        owners: dict[int, str] = {}
        for i, label in enumerate(self.labels):
            if label.id is not None and owners.setdefault(label.id, label.name) != label.name:
                raise InputError(
                    f"classes[{i}].id: {label.id} of {label.name!r} is that of {owners[label.id]!r}, too; give each its own"
                )
        for i, label in enumerate(self.labels):
            for parent in label.parents:
                self._check_known(parent, f"classes[{i}].parents")
            if i in self.ancestors(i):
                raise InputError(
                    f"classes[{i}].parents: {label.name!r} is its own ancestor; parents must not form a circle"
                )
        for i, pair in enumerate(self.confusable):
            for name in pair:
                self._check_known(name, f"confusable[{i}]")
            if self.id_of(pair[0]) == self.id_of(pair[1]):
                raise InputError(f"confusable[{i}]: {pair[0]!r} is paired with itself; name two different classes")
        return self

    def _check_synonyms(self) -> None:
        """Raise InputError for a synonym that means another class, too: its images would go to one of the two in silence."""
        owners = {key(label.name): i for i, label in enumerate(self.labels)}
        names = set(owners)
        for i, label in enumerate(self.labels):
            for word in label.synonyms:
                spelling = key(check_name(word, f"classes[{i}].synonyms"))
                other = self.labels[owners.setdefault(spelling, i)].name
                if owners[spelling] != i:
                    what = "the name" if spelling in names else "a synonym"
                    raise InputError(
                        f"classes[{i}].synonyms: {word!r} of {label.name!r} is {what} of {other!r}, too; "
                        "leave it with one of the two classes"
                    )

    def _check_known(self, name: str, where: str) -> None:
        if self.id_of(name) is None:
            raise InputError(
                f"{where}: {name!r} is not a known class; the nearest known names are {', '.join(nearest(name, self.names))}"
            )

    @classmethod
    def of(cls, names: Sequence[str]) -> "LabelSpace":
        return cls(labels=tuple(Label(name=name) for name in names)).checked()

    @classmethod
    def load(cls, path: Path) -> "LabelSpace":
        """Read a YAML file ``labels: [{name, prompt_name?, clip_name?, synonyms?, unseen?, hint?, parents?, id?}, ...]``
        and ``confusable: [[a, b]]``."""
        expected = "a YAML file of labels, 'labels: [{name: ...}, ...]'"
        content = mapping(read_yaml(path, expected), name_of(path), expected)
        try:
            return cls.model_validate(content).checked()
        except ValidationError as error:
            raise InputError(f"{name_of(path)}: {_wrong_entry(error, content)}; expected {expected}") from error
        except InputError as error:
            raise InputError(f"{name_of(path)}: {error}") from error

    @classmethod
    def chosen(cls, names: Sequence[str], file: str | None) -> "LabelSpace":
        """The classes of ``names`` as a label file describes them; without one all that is known of them is their names."""
        return (cls.load(Path(file)) if file else cls.of(names)).choose(names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    @cached_property
    def _ids(self) -> dict[str, int]:
        spellings = [(key(word), i) for i, label in enumerate(self.labels) for word in label.synonyms]
        exact = dict(spellings) | {key(label.name): i for i, label in enumerate(self.labels)}
        return {_joined(name): i for name, i in exact.items()} | exact

    @property
    def data_set_ids(self) -> tuple[int, ...]:
        """The ids of the data set if each class has one, else 1 to C."""
        ids = tuple(label.id for label in self.labels if label.id is not None)
        return ids if len(ids) == len(self.labels) else tuple(range(1, len(self.labels) + 1))

    def __len__(self) -> int:
        return len(self.labels)

    def id_of(self, name: str) -> int | None:
        """The id of a class by its name or a synonym, tolerant of case, underscores and spaces; None if it is not one."""
        return self._ids.get(key(name), self._ids.get(_joined(name)))

    def knows(self, name: str) -> bool:
        """Whether ``name`` is a class of this space, or of the one that it was chosen from."""
        return self.id_of(name) is not None or _joined(name) in {_joined(other) for other in self.others}

    @property
    def unseen_ids(self) -> tuple[int, ...]:
        return tuple(i for i, label in enumerate(self.labels) if label.unseen)

    @property
    def seen_ids(self) -> tuple[int, ...]:
        return tuple(i for i, label in enumerate(self.labels) if not label.unseen)

    def ancestors(self, label_id: int) -> set[int]:
        """Ids of a class's parents, their parents and so on."""
        found: set[int] = set()
        waiting = [label_id]
        while waiting:
            names = self.labels[waiting.pop()].parents
            parents = {found_id for name in names if (found_id := self.id_of(name)) is not None}
            waiting += parents - found
            found |= parents
        return found

    def are_confusable(self, first: int, second: int) -> bool:
        return frozenset((first, second)) in self._confusable_ids

    @cached_property
    def _confusable_ids(self) -> set[frozenset[int]]:
        return {frozenset(i for name in pair if (i := self.id_of(name)) is not None) for pair in self.confusable}

    def choose(self, names: Sequence[str]) -> "LabelSpace":
        """The classes of ``names``, at least two, in that order, with what is known of them and among them."""
        if len(names) < 2:
            found = "no class" if not names else f"only {names[0]!r}"
            raise InputError(f"classes: {found} is listed; a classifier needs at least two classes")
        chosen = []
        for i, name in enumerate(names):
            found_id = self.id_of(check_name(name, f"classes[{i}]"))
            if found_id is None:
                hint = nearest(name, self.names) or list(self.names[:5])
                raise InputError(
                    f"classes[{i}]: {name!r} is not a known class; the nearest known names are {', '.join(hint)}; "
                    "without 'labels' in the config any name is a class"
                )
            chosen.append(self.labels[found_id])
        kept = {label.name for label in chosen}
        rest = [word for label in self.labels if label.name not in kept for word in (label.name, *label.synonyms)]

        def is_kept(name: str) -> bool:
            found_id = self.id_of(name)
            return found_id is not None and self.labels[found_id].name in kept

        return LabelSpace(
            labels=tuple(
                label.model_copy(update={"parents": tuple(filter(is_kept, label.parents))}) for label in chosen
            ),
            others=(*self.others, *rest),
            confusable=tuple(pair for pair in self.confusable if all(map(is_kept, pair))),
        ).checked()


def wanted(space: LabelSpace) -> LabelSpace:
    """The classes that images are made for: the unseen ones, if there are any, else all."""
    return space.choose([space.names[i] for i in space.unseen_ids]) if space.unseen_ids else space
