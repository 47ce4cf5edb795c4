"""What every importer is: a function from a source made elsewhere to a folder that pipelines take.

A further kind is a function and its place in ``figment.imports.registry``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from figment.errors import InputError
from figment.reading import name_of, read_artifact
from figment.text import shown

RECORD = "import.json"
Makes = Literal["images", "prompts", "weights", "adapter", "model", "generator"]


@dataclass(frozen=True)
class Options:
    """What a command says beyond kind and source; each importer takes some of it."""

    images: Path | None = None  # the folder of the images that annotations name
    labels: Path | None = None  # classes: a label space, or a list of names
    vectors: Path | None = None  # label vectors
    model: str = ""  # what weights are of
    config: Path | None = None  # a folder of diffusers with configs and tokenizers
    name: str = ""  # what the imported images are called as a training set, or a word


@dataclass(frozen=True)
class Found:
    """What an importer wrote: the SHA-256 of what it read, how much of what, and how a config names it."""

    sha256: str
    counts: dict[str, int]
    use: str
    notes: tuple[str, ...] = ()
    file: str = ""  # of the folder, where a config names a file


@dataclass(frozen=True)
class Importer:
    """``read`` writes into a new folder. ``source`` says what is given; ``takes`` are the options it knows."""

    makes: Makes
    source: str
    read: Callable[[Path, Path, Options], Found]
    takes: frozenset[str] = field(default_factory=frozenset)
    needs: frozenset[str] = field(default_factory=frozenset)


class Record(BaseModel):
    """What ``import.json`` holds: where something came from, and what of it there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    makes: Makes
    name: str
    source: str
    sha256: str
    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    file: str = ""


def read_record(folder: Path, makes: Makes, field: str) -> Record:
    """The record of an import. Raises InputError, which begins with the config's ``field``, if ``folder`` holds none of what is
    asked for."""
    if not (folder / RECORD).is_file():
        raise InputError(
            f"{field}: {name_of(folder)} holds no {RECORD}; give a folder that `figment import` wrote, of {makes}"
        )
    record = read_artifact(folder / RECORD, Record)
    if record.makes != makes:
        raise InputError(f"{field}: {name_of(folder)} holds imported {shown(record.makes)}; expected {makes}")
    return record


def check_imported(folders: Iterable[str]) -> dict[str, int]:
    """How many images each folder of imported ones holds, by what they are called as a training set. Raises InputError for a
    folder that is none, and for a name that is there twice."""
    found: dict[str, int] = {}
    for number, folder in enumerate(folders):
        record = read_record(Path(folder), "images", f"imported[{number}]")
        if record.name in found:
            raise InputError(
                f"imported[{number}]: {folder}: the name {record.name!r} is there twice; import one by another --name"
            )
        found[record.name] = record.counts["images"]
    return found
