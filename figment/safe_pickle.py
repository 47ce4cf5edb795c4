"""Pickles that others wrote, read without pickle's arbitrary code: plain values, containers and arrays of numbers only.

numpy trusts what a pickled array says of its format, even that its bytes are the addresses of objects. So arrays and formats
are rebuilt by classes of this module, which take the code of a number and its byte order and nothing else.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from figment.errors import InputError


class _Format:
    """A pickled dtype: ``f4``, then a state that begins with its version and its byte order."""

    def __init__(self, code: Any, *_: Any):
        code = _text(code)
        if not re.fullmatch("[biuf][1248]", code):
            raise pickle.UnpicklingError(f"it has an array of {code!r}, where only numbers are read")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"it has an array of byte order {order!r}")
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
    return value.decode("ascii") if isinstance(value, bytes) else str(value)  # as ``encoding`` has it


class _Unpickler(pickle._Unpickler):
    """In Python, not in C, which sets tens of gigabytes aside if a damaged pickle numbers what it remembers so."""

    def find_class(self, module: str, name: str) -> Any:
        """What arrays and sets need to be rebuilt, by numpy's old names and new; other containers come for free."""
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") | ("numpy", "ndarray"):
                return _Array
            case "numpy", "dtype":
                return _Format
            case "__builtin__" | "builtins", "set":
                return set
            case "_codecs", "encode":  # how Python 3 writes bytes for protocol 2
                return lambda text, _encoding: text.encode("latin1")  # a new function, lest a pickle alter it
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no plain data needs")


def load(path: Path, expected: str, encoding: str = "ASCII") -> Any:
    """What ``path`` holds. Raises InputError, naming what was ``expected``, if it is unreadable or asks for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    try:
        return _Unpickler(io.BytesIO(data), encoding=encoding).load()
    except Exception as error:  # a damaged pickle may raise any
        why = str(error) if isinstance(error, pickle.UnpicklingError) else f"it is damaged, {error!r}"
        raise InputError(f"{path}: not {expected} ({why})") from error
