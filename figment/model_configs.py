"""The configs of a generator: what is known of it before its weights are loaded."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from figment.errors import InputError
from figment.model_folders import read_json
from figment.model_loaders.hub import CONFIGS, fetch

FIELD = "generator.model"
COMMIT = re.compile("[0-9a-f]{40}")


def is_local(model: str) -> bool:
    """Whether ``model`` means a folder (it exists, or is spelt like a path) rather than a hub id such as ``owner/name``."""
    return Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") != 1


@dataclass(frozen=True)
class ModelConfigs:
    """``index``: model_index.json; the others are of the network that runs at every step, of the decoder, of the scheduler, each
    with its class under ``_class_name``."""

    index: dict[str, Any]
    denoiser: dict[str, Any]
    decoder: dict[str, Any]
    scheduler: dict[str, Any]


@cache
def read_configs(model: str, revision: str) -> ModelConfigs:
    """The configs of a folder, or of a hub model's ``revision``. Raises InputError where they are not, or are not readable."""
    folder = Path(model) if is_local(model) else fetch(model, revision, FIELD, CONFIGS)
    index = read_json(folder / "model_index.json", FIELD)

    def part(*names: str) -> dict[str, Any]:
        for name in names:
            if isinstance(kind := index.get(name), list) and kind[-1]:
                file = "scheduler_config.json" if name == "scheduler" else "config.json"
                return read_json(folder / name / file, FIELD) | {"_class_name": kind[-1]}
        raise InputError(f"{FIELD}: {folder / 'model_index.json'} names no {names[0]}; restore the file")

    return ModelConfigs(index, part("unet", "transformer"), part("vae", "movq"), part("scheduler"))


def own_scheduler(model: str, revision: str) -> str:
    """The class of the scheduler that a generator comes with."""
    return str(read_configs(model, revision).scheduler["_class_name"])
