"""Text that users give: one way to read it, whatever wrote the file. Configs, label files, lists of names, prompts, JSON."""

import codecs
import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.constructor import ConstructorError

from figment.errors import InputError
from figment.text import one_line, reason_of, shown
from figment.types import is_finite

SMALL, LARGE = 16 << 20, 4 << 30  # bytes: what people write by hand or by a script, and annotations of a whole data set
YAML_VALUES = 1_000_000  # values in a YAML file once its aliases are expanded
BITS = 4096  # of a whole number
BOMS = {  # longest first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
T = TypeVar("T")
KINDS = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
    stat.S_IFSOCK: "it is a socket",
}


def name_of(path: Path | str) -> str:
    """A path as it can be printed: what is no UTF-8 escaped, the middle of a long one left out."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in printable(path))
    return text if len(text) <= 400 else f"{text[:200]}...{text[-200:]}"


def printable(path: Path | str) -> str:
    """A path as text of Unicode, whole: what is no UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def why_unreadable(path: Path, limit: int | None = None) -> str:
    """Why ``path`` is not a plain file of at most ``limit`` bytes that can be opened, in a few words; "" if it is one."""
    try:
        found = path.stat()
    except OSError as error:
        dangling = isinstance(error, FileNotFoundError) and os.path.islink(path)
        return "a link to a file that is not there" if dangling else reason_of(error)
    except ValueError:
        return "its name holds a NUL character"
    if not stat.S_ISREG(found.st_mode):
        return KINDS.get(stat.S_IFMT(found.st_mode), "it is no plain file")
    if limit is not None and found.st_size > limit:
        return f"{found.st_size:,} bytes, at most {limit:,}"
    return ""


def read_bytes(path: Path, expected: str, limit: int = SMALL, kind: str = "a readable file") -> bytes:
    """The content of a plain file. Raises InputError, with what was ``expected``, for what is missing, a folder, a pipe or a
    device, cannot be read or has more than ``limit`` bytes."""
    why = why_unreadable(path, limit)
    if not why:
        try:
            return path.read_bytes()
        except OSError as error:
            why = reason_of(error)
    raise InputError(f"{name_of(path)}: not {kind} ({why}); expected {expected}")


def read_text(path: Path, expected: str, limit: int = SMALL, kind: str = "readable text") -> str:
    r"""The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32 with one; lines end with ``\n``.

    Raises InputError, with what was ``expected``, as ``read_bytes`` does, for another encoding and for NUL characters.
    """
    data = read_bytes(path, expected, limit, kind)
    encoding = next((name for mark, name in BOMS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        found = f"line {line}: byte 0x{data[error.start]:02x} is not {encoding.removesuffix('-sig').upper()}"
        raise InputError(f"{name_of(path)}: not {kind} ({found}; save it as UTF-8); expected {expected}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(
            f"{name_of(path)}: not {kind} (line {line} holds a NUL character; save it as UTF-8); expected {expected}"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, expected: str, limit: int = SMALL) -> Any:
    """The value of a JSON file. Raises InputError as ``read_text`` does, and for what is not JSON, nested too deep, or a number
    that no program reads. NaN and infinities come through: who reads a number says where it stands."""
    try:
        return json.loads(read_text(path, expected, limit, "readable JSON"))
    except RecursionError as error:
        raise InputError(f"{name_of(path)}: not readable JSON (nested too deep); expected {expected}") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name_of(path)}: not readable JSON ({_brief(error)}); expected {expected}") from error


def read_artifact(path: Path, kind: type[T]) -> T:
    """A JSON file that Figment wrote, as a pydantic model or a value of another ``kind``. Raises InputError for what it did not
    write so, a NaN among it."""
    expected = f"what Figment wrote; remove {name_of(path)} and run the pipeline again"
    value = read_json(path, expected)
    try:
        if not is_finite(value):
            raise InputError(f"{name_of(path)}: holds a number that is infinite or NaN; expected {expected}")
        return TypeAdapter(kind).validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{one_line('.'.join(map(str, first['loc'])))}: {first['msg']}"
        raise InputError(f"{name_of(path)}: {found}, found {shown(first['input'])}; expected {expected}") from error
    except RecursionError as error:
        raise InputError(f"{name_of(path)}: nested too deep; expected {expected}") from error


def read_yaml(path: Path, expected: str, limit: int = SMALL) -> Any:
    """The value of a YAML file, None for an empty one. Raises InputError as ``read_text`` does, and for what is not YAML, for a
    key that is given twice, and for nesting or aliases that expand to more than can be handled."""
    return parse_yaml(read_text(path, expected, limit, "readable YAML"), name_of(path), expected)


def parse_yaml(text: str, where: str, expected: str) -> Any:
    """``read_yaml`` of text that comes from ``where``."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {}, set())
        return loader.construct_document(node)
    except RecursionError as error:
        raise InputError(f"{where}: not readable YAML (nested too deep); expected {expected}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not readable YAML ({_brief(error)}); expected {expected}") from error


def mapping(value: Any, where: str, expected: str) -> dict[str, Any]:
    """``value`` if it maps texts to values, {} for None. Raises InputError for anything else that YAML or JSON may hold."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {kind_of(value)}; expected {expected}")
    strange = next((key for key in value if not isinstance(key, str)), None)
    if strange is not None:
        raise InputError(
            f"{where}: found the key {shown(strange)}, {kind_of(strange)}; expected {expected}, or quotes around it"
        )
    return value


def kind_of(value: object) -> str:
    """What a value of YAML or JSON is, in a word or two."""
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


class _Loader(yaml.SafeLoader):
    """PyYAML's own, which raises errors of many kinds for what is no value of its tag: ``!!int x``, the date 2024-13-45."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and value.bit_length() > BITS:
                raise ValueError("Python would not print it")
            if isinstance(value, str):
                value.encode()  # fails on half of a surrogate pair
            return value
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"it is no value of kind {kind}", node.start_mark) from error


def _count_values(node: yaml.Node, counts: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for, its aliases expanded. Raises YAMLError for too many, for a node within itself and for
    a key that is given twice."""
    if id(node) in above:
        raise ConstructorError(None, None, "an alias within what it stands for", node.start_mark)
    if id(node) not in counts:
        above.add(id(node))
        parts = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            parts = [part for pair in node.value for part in pair]
        counts[id(node)] = 1 + sum(_count_values(part, counts, above) for part in parts)
        above.discard(id(node))
        if counts[id(node)] > YAML_VALUES:
            raise ConstructorError(None, None, f"more than {YAML_VALUES:,} values by its aliases", node.start_mark)
    return counts[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise ConstructorError(None, None, f"{shown(key.value)} is given twice", key.start_mark)
            seen.add((key.tag, key.value))


def _brief(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return one_line(f"line {error.problem_mark.line + 1}: {error.problem}")
    return reason_of(error)
