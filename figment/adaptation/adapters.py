"""Adapters on disk: weights that change what prompts mean, in a file named by its content."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from figment.errors import InputError
from figment.files import atomic, sha256_file
from figment.model_folders import read_tensors


def save_adapter(tensors: Mapping[str, Tensor], folder: Path, metadata: Mapping[str, str]) -> str:
    """Write ``<sha256>.safetensors`` into ``folder``; returns the hash, by which plans refer to it."""
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata))
    name = hashlib.sha256(content).hexdigest()
    with atomic(folder / f"{name}.safetensors") as partial:
        partial.write_bytes(content)
    return name


def imported_adapter(folder: Path, field: str) -> tuple[Path, dict[str, Tensor]]:
    """The one adapter of a folder that ``figment import`` wrote, and what it holds. Raises InputError, which begins with the
    config's ``field``, if there is none or it is damaged."""
    files = sorted((folder / "adapters").glob("*.safetensors"))
    if len(files) != 1:
        raise InputError(f"{field}: {folder} holds {len(files)} adapters; give a folder that `figment import` wrote")
    if sha256_file(files[0]) != files[0].stem:
        raise InputError(f"{field}: {files[0]}: its content is not what its name says; import it again")
    return files[0], read_tensors(files[0], field)
