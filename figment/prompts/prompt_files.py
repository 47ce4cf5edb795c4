"""Prompts that were written elsewhere: whatever file they lie in, rows of a text and the classes that it is to show.

* a folder of text files, one a pair of classes, ``cat_dog.txt``, or a class by itself, ``cat.txt`` or ``cat_cat.txt``: what a
  chat model answered, or a prompt a line;
* CSV by ``,`` or ``;`` with a header: ``text`` (or ``prompt``, ``caption``) and ``labels`` (or ``label``, ``class_name``),
  several labels with ``|`` between them; DIAGen's own, ``class_name;class_idx;prompt``, is one of these;
* Parquet with such columns, ``labels`` a list; JSON lines with such keys.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from figment.errors import InputError
from figment.labels import Label, LabelSpace, check_name, key, nearest
from figment.prompts.naming import naming_pattern
from figment.prompts.parsing import MAX_PROMPT_LENGTH, parse_response
from figment.prompts.tricks import Prompt
from figment.reading import LARGE, name_of, read_text, why_unreadable
from figment.text import reason_of, shown

TABLE = "prompts.parquet"
TEXTS, LABELS = ("text", "prompt", "caption"), ("labels", "label", "class_name")
NAME, BETWEEN = "{name}", "|"
FILE = "file"  # the trick of prompts from a file
EXPECTED = "a text (text, prompt or caption) and its classes (labels, label or class_name)"


@dataclass(frozen=True)
class PromptRow:
    """A prompt, the classes that it shows, as the source calls them, and where it stands."""

    text: str
    labels: tuple[str, ...]
    source: str


def read_rows(path: Path, space: LabelSpace | None = None) -> Iterator[PromptRow]:
    """The rows of any of the files above. ``space`` tells the classes in the name of a pair's file apart where they hold ``_``
    themselves. Raises InputError with the file and line for what is not as it should be."""
    if os.path.isdir(path) and (path / TABLE).is_file():
        path = path / TABLE
    if os.path.isdir(path):  # False of a path that no system takes, where Path.is_dir raises
        yield from _pair_files(path, space)
    elif path.suffix.lower() == ".parquet":
        yield from _parquet(path)
    elif path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        yield from _json_lines(path)
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        yield from _csv(path)
    else:
        why = why_unreadable(path) or f"its name ends with {shown(path.suffix)}"
        raise InputError(
            f"{name_of(path)}: not readable prompts ({why}); expected .csv, .parquet, .jsonl, a folder of .txt"
        )


def check_rows(rows: Sequence[PromptRow], path: Path) -> Sequence[PromptRow]:
    """The rows, if there are any and each can be one."""
    if not rows:
        raise InputError(f"{name_of(path)}: holds no prompt; expected {EXPECTED}")
    for row in rows:
        if not row.text.strip() or len(row.text) > MAX_PROMPT_LENGTH or not row.text.isprintable():
            raise InputError(
                f"{row.source}: prompt {shown(row.text)}; expected a line of 1 to {MAX_PROMPT_LENGTH} printable characters"
            )
        if not row.labels:
            raise InputError(f"{row.source}: names no class; expected one at least")
        for name in row.labels:
            check_name(name, row.source)
    return rows


def read_prompt_file(path: Path, space: LabelSpace, must_name: bool) -> tuple[list[Prompt], dict[str, int]]:
    """The prompts of ``space``'s classes, labels in the space's order, each once, and how many were dropped by reason: those
    of classes that were not chosen, and with ``must_name`` those that do not say all that they are to show."""
    found: dict[tuple[tuple[str, ...], str], Prompt] = {}
    drops = {"not_chosen": 0, "missing_label": 0, "duplicate": 0}
    for row in check_rows(list(read_rows(path, space)), path):
        ids = [_class_of(name, space, row.source) for name in row.labels]
        if None in ids:
            drops["not_chosen"] += 1
            continue
        labels = [space.labels[i] for i in sorted({i for i in ids if i is not None})]
        text = row.text.strip()
        if NAME in text:
            if len(labels) > 1:
                raise InputError(
                    f"{row.source}: {NAME} stands for one class, and the prompt has {len(labels)}; say their names"
                )
            text = text.replace(NAME, labels[0].prompt_name)
        if must_name and not all(naming_pattern(label).search(text) for label in labels):
            drops["missing_label"] += 1
            continue
        names = tuple(label.name for label in labels)
        drops["duplicate"] += (names, text) in found
        found.setdefault((names, text), Prompt(text, names, FILE, source=row.source))
    return list(found.values()), {reason: count for reason, count in drops.items() if count}


def _class_of(name: str, space: LabelSpace, where: str) -> int | None:
    """The id of a class by its name, a synonym, or what prompts or CLIP call it; None if it was not chosen."""
    found = id_named(name, space)
    if found is None and not space.knows(name):
        hint = ", ".join(nearest(name, space.names)) or "none"
        raise InputError(f"{where}: {shown(name)} is no known class; the nearest known names are {hint}")
    return found


def id_named(name: str, space: LabelSpace) -> int | None:
    """The id of a class by its name, a synonym, or what prompts or CLIP call it, as released files do; None if it is not one."""
    found = space.id_of(name)
    if found is not None:
        return found
    same = (i for i, label in enumerate(space.labels) if key(name) in (key(label.prompt_name), key(label.clip_name)))
    return next(same, None)


def _pair_files(folder: Path, space: LabelSpace | None) -> Iterator[PromptRow]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".txt")
    if not files:
        raise InputError(
            f"{name_of(folder)}: holds no .txt; expected a file for each pair of classes, such as cat_dog.txt"
        )
    for file in files:
        names = _names_in(file, space)
        known: Sequence[Label | str] = ()  # whether a prompt names them is for whoever uses it
        for number, text in enumerate(
            parse_response(read_text(file, "prompts, one a line"), known, 1_000_000).prompts, 1
        ):
            yield PromptRow(text, names, f"{name_of(file)} prompt {number}")


def _names_in(file: Path, space: LabelSpace | None) -> tuple[str, ...]:
    """The classes that a file's name says."""
    parts = file.stem.split("_")
    splits = [("_".join(parts[:i]), "_".join(parts[i:])) for i in range(1, len(parts))]
    if space is None:
        if len(splits) > 1:
            raise InputError(
                f"{name_of(file)}: its name may be split in {len(splits)} ways; give --labels, which tells the classes"
            )
        names: tuple[str, ...] = splits[0] if splits else (file.stem,)
    else:
        own = [(file.stem,)] if id_named(file.stem, space) is not None else []
        pairs = [
            pair for pair in splits if all(id_named(name, space) is not None or space.knows(name) for name in pair)
        ]
        if len(own + pairs) != 1:
            found = "no class" if not own + pairs else f"{len(own + pairs)} different pairs of classes"
            raise InputError(f"{name_of(file)}: its name says {found}; expected two classes with _ between them")
        names = (own + pairs)[0]
    return tuple(dict.fromkeys(names))


def _csv(path: Path) -> Iterator[PromptRow]:
    text = read_text(path, f"a CSV with a header: {EXPECTED}", LARGE, "a readable CSV")
    header = text.partition("\n")[0]
    delimiter = max((";", ",", "\t"), key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
        fields = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = fields
        _columns(fields, name_of(path))
        for row in reader:
            where = f"{name_of(path)} line {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(
                    f"{where}: not as many fields as the header's {len(fields)}; put quotes around one with {delimiter!r} in it"
                )
            yield _row(row, where)
    except csv.Error as error:
        raise InputError(
            f"{name_of(path)}: not a CSV ({reason_of(error)}); expected a header with {EXPECTED}"
        ) from error


def _parquet(path: Path) -> Iterator[PromptRow]:
    from figment.image_files import open_parquet  # and with it torch, which configs do without

    table = open_parquet(path)
    names = table.schema_arrow.names
    wanted = [*_columns(names, name_of(path)), *(["source"] if "source" in names else [])]
    number = 0
    try:
        for batch in table.iter_batches(4096, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                found = _row(row, f"{name_of(path)} row {number}")
                origin = row.get("source")
                yield PromptRow(found.text, found.labels, origin) if isinstance(origin, str) and origin else found
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name_of(path)}: damaged Parquet ({reason_of(error)}); expected {EXPECTED}") from error


def _json_lines(path: Path) -> Iterator[PromptRow]:
    text = read_text(path, f"a JSON object a line: {EXPECTED}", LARGE)
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{name_of(path)} line {number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{where}: not JSON ({reason_of(error)}); expected an object with {EXPECTED}"
                ) from error
            if not isinstance(value, dict):
                raise InputError(f"{where}: {shown(value)}; expected an object with {EXPECTED}")
            _columns(list(value), where)
            yield _row(value, where)


def _columns(names: Sequence[str], where: str) -> tuple[str, str]:
    """The columns of the text and of the labels."""
    text = next((name for name in TEXTS if name in names), None)
    labels = next((name for name in LABELS if name in names), None)
    if text is None or labels is None:
        raise InputError(f"{where}: its fields are {', '.join(map(shown, names[:10])) or 'none'}; expected {EXPECTED}")
    return text, labels


def _row(row: Mapping[Any, Any], where: str) -> PromptRow:
    text_column, label_column = _columns(list(row), where)
    text, labels = row[text_column], row[label_column]
    if isinstance(labels, str):
        labels = [name.strip() for name in labels.split(BETWEEN)]
    if not isinstance(text, str) or not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise InputError(
            f"{where}: {text_column} {shown(text)} and {label_column} {shown(labels)}; expected text and names"
        )
    return PromptRow(" ".join(text.split()), tuple(dict.fromkeys(labels)), where)
