"""Text from outside in a message: untrusted values, what a server or a library wrote, bounded and on one line."""

import datetime
import unicodedata
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any

MAX_VALUE, MAX_LINE = 80, 300  # characters
MIN_SECRET_PART = 6  # characters; a shorter part of a key gives nothing away, and may be a word


def shown(value: Any, limit: int = MAX_VALUE) -> str:
    """The ``repr`` of an untrusted value in at most ``limit`` characters, in time that does not depend on its size.

    ``repr`` and ``str`` take for ever on a structure that holds itself twice at each of many levels (YAML aliases, the memo
    of a pickle), and so do hashing and comparing. Of an object that is no plain value only the type is named.
    """
    text = "".join(islice(_pieces(value, limit), limit + 1))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _pieces(value: Any, limit: int) -> Iterator[str]:
    """The repr's pieces, none of them empty, each made when it is asked for."""
    if isinstance(value, str | bytes | bytearray):
        yield repr(value[: limit + 1])
    elif isinstance(value, int) and not isinstance(value, bool | Enum):
        yield repr(int(value)) if value.bit_length() < 256 else f"<an integer of {value.bit_length()} bits>"
    elif value is None or isinstance(value, bool | float | complex | PurePath | datetime.date | Enum):
        yield repr(value)
    elif isinstance(value, dict | list | tuple | set | frozenset):
        opening, closing = {list: ("[", "]"), tuple: ("(", ")")}.get(type(value), ("{", "}"))
        yield opening
        for i, item in enumerate(value.items() if isinstance(value, dict) else value):
            if i:
                yield ", "
            if isinstance(value, dict):
                yield from _pieces(item[0], limit)
                yield ": "
                item = item[1]
            yield from _pieces(item, limit)
        yield closing
    else:
        yield f"<{type(value).__name__}>"


def one_line(text: str | bytes, secrets: Iterable[str] = (), limit: int = MAX_LINE) -> str:
    """What a server, a library or a file says, fit for a message: one line without control characters, of at most ``limit``
    characters, with ``***`` for each of ``secrets`` and for any part of one that is ``MIN_SECRET_PART`` long or more."""
    if isinstance(text, bytes):
        text = text[: 100 * limit].decode("utf-8", "replace")
    text = "".join(" " if c.isspace() else c for c in text[: 100 * limit] if c.isspace() or not _is_control(c))
    text = " ".join(text.split())
    for secret in secrets:
        text = _masked(text, secret)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _is_control(character: str) -> bool:
    """Control, format (such as those that turn the direction of writing), surrogate and unassigned characters."""
    return unicodedata.category(character).startswith("C")


def _masked(text: str, secret: str) -> str:
    """``text`` with ``***`` for the longest parts of ``secret``, from the left."""
    shortest = min(MIN_SECRET_PART, len(secret))
    if not shortest:
        return text
    pieces, start = [], 0
    while start < len(text):
        end = start + shortest
        if text[start:end] in secret and end <= len(text):
            while end < len(text) and text[start : end + 1] in secret:
                end += 1
            pieces.append("***")
            start = end
        else:
            pieces.append(text[start])
            start += 1
    return "".join(pieces)


def reason_of(error: BaseException, secrets: Iterable[str] = (), limit: int = MAX_LINE) -> str:
    """What an exception says, as ``one_line``; of one that says nothing the type. Values in it are bounded like ``shown``."""
    args = error.args
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    elif isinstance(error, KeyError) and len(args) == 1:  # its text is the repr of its key
        text = f"there is no {shown(args[0])}"
    elif all(
        isinstance(arg, str | bytes | float | None) or (isinstance(arg, int) and abs(arg) < 2**64) for arg in args
    ):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {', '.join(map(shown, args))}"
    return one_line(text, secrets, limit) or type(error).__name__


def chat_messages(text: str, system: str | None) -> list[dict[str, str]]:
    """What a model is told: a system message where there is one, then the question."""
    return [*([] if system is None else [{"role": "system", "content": system}]), {"role": "user", "content": text}]
