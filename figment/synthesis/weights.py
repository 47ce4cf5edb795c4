"""Where a generator's weights are, and what pins them."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from figment.errors import InputError
from figment.files import sha256_folder
from figment.labels import key, nearest
from figment.model_folders import check_files, parse_json
from figment.model_loaders import CONFIGS, check_pipeline, component_classes, fetch
from figment.synthesis.config import GeneratorConfig

COMMIT = re.compile("[0-9a-f]{40}")


def is_local(model: str) -> bool:
    """Whether ``model`` means a folder (it exists, or is spelt like a path) rather than a hub id such as ``owner/name``."""
    return Path(model).exists() or model.startswith((".", "/", "~")) or model.count("/") != 1


@cache
def folder_revision(model: str) -> str:
    """The hash of a local pipeline's content. Raises InputError if ``model`` is no diffusers folder."""
    folder = Path(model)
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"generator.model: {model!r} holds no model_index.json; give a diffusers pipeline's folder or a hub id"
        )
    return sha256_folder(folder)[:16]


def model_revision(config: GeneratorConfig) -> str:
    """What pins the weights: the hash of a local folder's content, or the commit that a hub revision points to now."""
    if is_local(config.model):
        return folder_revision(config.model)
    if COMMIT.fullmatch(config.revision):
        return config.revision
    try:
        index = snapshot_download(config.model, revision=config.revision, allow_patterns=["model_index.json"])
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise InputError(
            f"generator.revision: {config.revision!r} of {config.model!r} cannot be resolved to a commit "
            f"({str(error).strip().splitlines()[0]}); give the 40-digit commit, or connect once"
        ) from error
    return Path(index).name


def check_generator(config: GeneratorConfig, texts: Sequence[str] = ()) -> None:
    """Raise InputError now if the generator would not load later: configs, tokenizers and weights of a folder are checked, of a
    hub model all but its weights. ``texts`` are names or prompts that its tokenizers must know something of."""
    field, folder, revision = "generator.model", Path(config.model), model_revision(config)
    if is_local(config.model):
        for part in component_classes(folder, field):
            check_files(folder / part, field)
    else:
        folder = fetch(config.model, revision, field, CONFIGS)
    check_pipeline(folder, field, texts, weights=is_local(config.model))


def check_revision(model: str, revision: str) -> None:
    """Raise InputError if a local model is no longer the one that a plan was made for."""
    if is_local(model) and folder_revision(model) != revision:
        raise InputError(
            f"generator.model: {model!r} changed since the plan was made (revision {revision}, now "
            f"{folder_revision(model)}); restore those weights, or plan again with the new ones"
        )


def unknown_names(model: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Names that a model with a ``vocabulary.json`` (a list of words it learnt) never saw, each with the nearest it did."""
    file = Path(model) / "vocabulary.json"
    if not file.is_file():
        return {}
    known = parse_json(file, "generator.model")
    if not (isinstance(known, list) and all(isinstance(word, str) for word in known)):
        raise InputError(f"generator.model: {file} is no list of words; restore it, or remove it")
    keys = {key(word) for word in known}
    return {name: nearest(name, known) for name in names if key(name) not in keys}
