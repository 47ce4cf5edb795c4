"""Adapters on disk: weights that change what prompts mean, in a file named by its content."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from figment.files import atomic, sha256_file


def save_adapter(tensors: Mapping[str, Tensor], folder: Path, metadata: Mapping[str, str]) -> str:
    """Write ``<sha256>.safetensors`` into ``folder``; returns the hash, by which plans refer to it."""
    draft = folder / "draft.safetensors"
    with atomic(draft) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, dict(metadata))
    name = sha256_file(draft)
    draft.replace(folder / f"{name}.safetensors")
    return name
