"""Pickles that others wrote, read without pickle's arbitrary code: plain values, containers and arrays of numbers only.

numpy trusts what a pickled array says of its format, even that its bytes are the addresses of objects. So arrays and formats
are rebuilt by classes of this module, which take the code of a number and its byte order and nothing else.

A hundred bytes can build a structure that holds itself twice at each of many levels, whose hash or text
takes for ever. So keys and members of sets are plain values, and what is built is walked once, within bounds.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from figment.errors import InputError
from figment.text import reason_of, shown

MAX_VALUES, MAX_CONTAINERS, MAX_DEPTH = 5_000_000, 200_000, 32


class _Format:
    """A pickled dtype: ``f4``, then a state that begins with its version and its byte order."""

    def __init__(self, code: Any, *_: Any):
        code = _text(code)
        if not re.fullmatch("[biuf][1248]", code):
            raise pickle.UnpicklingError(f"it has an array of {shown(code)}, where only numbers are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"it has an array of byte order {shown(order)}")
        self.dtype = self.dtype.newbyteorder("<" if order == "=" else order)


class _Array(np.ndarray):
    """A pickled array: empty first, then a state of version, shape, format, whether in Fortran's order, and bytes."""

    def __new__(cls, *_: Any) -> "_Array":
        return super().__new__(cls, (0,), np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if not isinstance(kind, _Format):
            raise pickle.UnpicklingError("it has an array whose format is none")
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # of Python 2
        values = np.frombuffer(raw, kind.dtype).reshape(shape)  # fails unless the shape needs as many bytes
        checked: Any = (1, values.shape, values.dtype, bool(fortran), raw)
        super().__setstate__(checked)


def _text(value: Any) -> str:
    """A short text, which is bytes if ``encoding`` has it so; whatever else it is comes back as what a message shows."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return text if isinstance(text, str) and len(text) < 9 else shown(text)


def _keys(found: Any) -> Any:
    """``found``, if each of it is a plain value. Hashing and comparing anything deeper can take for ever."""
    for key in found:
        if not isinstance(key, str | bytes | int | float | None):
            raise pickle.UnpicklingError(f"it has a {type(key).__name__} as a key or a member of a set")
    return found


class _Unpickler(pickle._Unpickler):
    """In Python, not in C, which sets tens of gigabytes aside if a damaged pickle numbers what it remembers so."""

    stack: list[Any]  # of pickle._Unpickler

    def find_class(self, module: str, name: str) -> Any:
        """What arrays and sets need to be rebuilt, by numpy's old names and new; other containers come for free."""
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") | ("numpy", "ndarray"):
                return _Array
            case "numpy", "dtype":
                return _Format
            case "__builtin__" | "builtins", "set":
                return lambda members=(): set(_keys(members))
            case "_codecs", "encode":  # how Python 3 writes bytes for protocol 2
                return lambda text, _encoding: text.encode("latin1")  # a new function, lest a pickle alter it
        raise pickle.UnpicklingError(f"it asks for {shown(f'{module}.{name}')}, which no plain data needs")

    def _checked(self, opcode: bytes) -> None:
        """Check what an opcode is about to hash or to set, then do it."""
        match opcode:
            case pickle.SETITEM:
                _keys(self.stack[-2:-1])
            case pickle.SETITEMS | pickle.DICT:
                _keys(self.stack[::2])
            case pickle.ADDITEMS | pickle.FROZENSET:
                _keys(self.stack)
            case pickle.BUILD if not isinstance(self.stack[-2], _Format | _Array):
                raise pickle.UnpicklingError("it sets attributes, which no plain data needs")
        pickle._Unpickler.dispatch[opcode[0]](self)  # type: ignore[arg-type]

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)
    for _opcode in (pickle.SETITEM, pickle.SETITEMS, pickle.DICT, pickle.ADDITEMS, pickle.FROZENSET, pickle.BUILD):
        dispatch[_opcode[0]] = lambda self, opcode=_opcode: self._checked(opcode)  # type: ignore[misc]


def _walk(value: Any) -> None:
    """Raises UnpicklingError if following every reference within ``value`` meets too many values, or goes too deep."""
    level, containers, values = [value], 0, 0
    for _ in range(MAX_DEPTH):
        found: list[Any] = [each for each in level if isinstance(each, dict | list | tuple | set | frozenset)]
        containers, values = containers + len(found), values + sum(map(len, found))
        if containers > MAX_CONTAINERS or values > MAX_VALUES:
            raise pickle.UnpicklingError(f"it holds more than {MAX_CONTAINERS:,} containers or {MAX_VALUES:,} values")
        if not found:
            return
        level = [member for each in found for member in (each.values() if isinstance(each, dict) else each)]
    raise pickle.UnpicklingError(f"it is nested more than {MAX_DEPTH} levels deep")


def load(path: Path, expected: str, encoding: str = "ASCII") -> Any:
    """What ``path`` holds. Raises InputError, naming what was ``expected``, if it is unreadable or asks for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    try:
        value = _Unpickler(io.BytesIO(data), encoding=encoding).load()
        _walk(value)
    except Exception as error:  # a damaged pickle may raise any
        why = "" if isinstance(error, pickle.UnpicklingError) else f"it is damaged, {type(error).__name__}: "
        raise InputError(f"{path}: not {expected} ({why}{reason_of(error)})") from error
    return value
