"""Features on disk: named sets in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file

from figment.files import atomic
from figment.training.head import FeatureSet

SEPARATOR = "/"


def save_features(sets: Mapping[str, FeatureSet], path: Path) -> None:
    tensors = {}
    for name, found in sets.items():
        tensors[f"features{SEPARATOR}{name}"] = found.features.contiguous()
        tensors[f"labels{SEPARATOR}{name}"] = found.labels.clone()  # sets may share theirs, a file's tensors may not
    with atomic(path) as partial:
        save_file(tensors, partial)


def load_features(path: Path) -> dict[str, FeatureSet]:
    tensors = load_file(path)
    names = [key.partition(SEPARATOR)[2] for key in tensors if key.startswith(f"features{SEPARATOR}")]
    return {
        name: FeatureSet(tensors[f"features{SEPARATOR}{name}"], tensors[f"labels{SEPARATOR}{name}"]) for name in names
    }
