"""Adapters on disk: weights that change what prompts mean, in a file named by its content."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from figment.files import atomic


def save_adapter(tensors: Mapping[str, Tensor], folder: Path, metadata: Mapping[str, str]) -> str:
    """Write ``<sha256>.safetensors`` into ``folder``; returns the hash, by which plans refer to it."""
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata))
    name = hashlib.sha256(content).hexdigest()
    with atomic(folder / f"{name}.safetensors") as partial:
        partial.write_bytes(content)
    return name
