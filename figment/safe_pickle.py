"""Pickles that others wrote, read without pickle's arbitrary code: plain values, containers and numpy arrays only."""

import codecs
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from figment.errors import InputError

_RECONSTRUCT = np.ndarray((0,)).__reduce__()[0]

# All that arrays and sets need to be rebuilt, by numpy's old names and new; other containers come for free.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,  # how Python 3 writes bytes for protocol 2
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no plain data needs")


def load(path: Path, expected: str, encoding: str = "ASCII") -> Any:
    """What ``path`` holds. Raises InputError, naming what was ``expected``, if it is unreadable or asks for anything else."""
    try:
        return _Unpickler(io.BytesIO(path.read_bytes()), encoding=encoding).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{path}: not {expected} ({error})") from error
