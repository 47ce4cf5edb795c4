"""Weights that others wrote: ``.safetensors``, and what ``torch.save`` writes (``.pth``, ``.pt``, ``.bin``, ``.ckpt``).

A torch file is a pickle, and a pickle can run code. torch's restricted reader (``weights_only``) builds tensors and plain
containers and calls nothing else; on top of it the file is bounded here: its parts are stored as they are and add up, tensors are
plain, lie within what the file holds, and are copied, so that nothing of it can grow beyond the file.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from figment.errors import InputError
from figment.model_folders import check_finite, read_tensors
from figment.reading import name_of, why_unreadable
from figment.text import reason_of, shown

LARGEST = 64 << 30  # bytes
MAX_DEPTH, MAX_VALUES = 8, 1_000_000
GROWTH = 4  # tensors that share storage are copied: at most so many times the file
TORCH = (".pth", ".pt", ".bin", ".ckpt")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
TYPES = (*FLOATS, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)


def read_tensor_file(file: Path, expected: str) -> Any:
    """What a file of weights holds: a mapping of tensors, or whatever containers with tensors and plain values it is. Tensors are
    on the CPU, contiguous and finite. Raises InputError, with what was ``expected``, for anything else; nothing in it is run."""
    where = name_of(file)
    if why := why_unreadable(file, LARGEST):
        raise InputError(f"{where}: not readable weights ({why}); expected {expected}")
    if file.suffix.lower() == ".safetensors":
        return read_tensors(file, where)
    if file.suffix.lower() not in TORCH:
        raise InputError(
            f"{where}: ends in {file.suffix or 'nothing'}; expected {expected}, .safetensors or {', '.join(TORCH)}"
        )
    _check_archive(file, where, expected)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on a pickle's version, and on what is refused below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise any
        raise InputError(f"{where}: not read ({_why(error)}); expected {expected}") from error
    left = [GROWTH * file.stat().st_size, MAX_VALUES]
    return _copied(content, where, "", left, MAX_DEPTH)


def _check_archive(file: Path, where: str, expected: str) -> None:
    """Of the zip that torch writes: its parts are stored as they are, and none is code."""
    try:
        if not zipfile.is_zipfile(file):  # raises too, for one that claims to span several disks
            return
        parts = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeError) as error:
        raise InputError(f"{where}: a damaged archive ({reason_of(error)}); expected {expected}") from error
    if any("/code/" in part.filename or part.filename.endswith("constants.pkl") for part in parts):
        raise InputError(
            f"{where}: holds a program (TorchScript), which is never run; expected {expected}, the weights alone"
        )
    packed = next((part for part in parts if part.compress_type != zipfile.ZIP_STORED), None)
    if packed or sum(part.file_size for part in parts) > file.stat().st_size:
        raise InputError(
            f"{where}: its parts are compressed or overlap, as torch never saves them; save it again with torch"
        )


def _why(error: BaseException) -> str:
    """What a file asks for that no weights need, or why it cannot be read."""
    found = re.search(r"GLOBAL ([\w.]+)|unsupported (?:global|class)\W+(?:GLOBAL )?([\w.]+)", str(error), re.I)
    name = found and (found[1] or found[2])
    return f"it asks for {shown(name)}, which no weights need" if name else reason_of(error, limit=200)


def _copied(value: Any, where: str, name: str, left: list[int], depth: int) -> Any:
    """``value`` with its tensors copied; ``left`` are the bytes and values that it may still take."""
    left[1] -= 1
    if depth < 0 or left[1] < 0:
        raise InputError(
            f"{where}: nested deeper than {MAX_DEPTH} or more than {MAX_VALUES:,} values; expected a mapping of tensors"
        )
    if isinstance(value, Tensor):
        return _tensor(value, where, name, left)
    if isinstance(value, Mapping):
        if strange := next((key for key in value if not isinstance(key, str | int)), None):
            raise InputError(f"{where}: {shown(strange)} is a key; expected names")
        return {key: _copied(each, where, f"{name}.{key}".lstrip("."), left, depth - 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(each, where, f"{name}.{i}".lstrip("."), left, depth - 1) for i, each in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise InputError(f"{where}: {shown(name)} is a {type(value).__name__}; expected tensors, names and numbers")


def _tensor(value: Tensor, where: str, name: str, left: list[int]) -> Tensor:
    value = value.detach()
    if (
        value.layout is not torch.strided
        or value.is_quantized
        or value.device.type != "cpu"
        or value.dtype not in TYPES
    ):
        kind = f"{value.layout}, {value.dtype}, on {value.device}".replace("torch.", "")
        raise InputError(f"{where}: the weights {shown(name)} are {kind}; expected plain numbers")
    left[0] -= value.numel() * value.element_size()
    if left[0] < 0:
        raise InputError(f"{where}: with {shown(name)} its tensors are larger than {GROWTH} times the file; restore it")
    check_finite({name: value}, where)
    return value.clone(memory_format=torch.contiguous_format)


def state_of(content: Any, where: str) -> dict[str, Tensor]:
    """The largest mapping from names to tensors in a file's content, by itself or under ``model``, ``state_dict`` and the like.
    Raises InputError if there is none."""
    states = [{str(n): v for n, v in found.items() if isinstance(v, Tensor)} for found in _mappings(content)]
    if largest := max(states, key=len, default={}):
        return largest
    raise InputError(f"{where}: holds no mapping from names to tensors; expected a state dict")


def _mappings(content: Any) -> Iterator[Mapping[Any, Any]]:
    """A mapping, then those under the names that checkpoints use, the moving average last."""
    if isinstance(content, Mapping):
        yield content
        for name in ("state_dict", "model", "model_state_dict", "module", "net", "weights", "ema"):
            yield from _mappings(content.get(name))
