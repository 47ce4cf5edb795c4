"""What all ways into a model's folder share: the hub's files, the check of a network before its weights are read."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from figment.errors import InputError
from figment.model_folders import one_sentence

CONFIGS = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]  # all of a model but its weights
VARIANT = re.compile(r"\.(fp16|bf16)[.-]")  # in the name of a file of weights
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@contextmanager
def no_questions() -> Iterator[None]:
    """Within the block transformers does not ask on stdin whether it may run a model's code: it may not. Nor does it show
    progress over the files of a model, then or later."""
    from transformers import dynamic_module_utils
    from transformers.utils import logging

    logging.disable_progress_bar()
    seconds = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = seconds


def fetch(model: str, revision: str | None, field: str, patterns: Sequence[str]) -> Path:
    """The folder with those files of a hub model that match. Raises InputError if the hub, or its cache, has it not."""
    with one_sentence(f"{field}: {model!r} cannot be fetched", "connect once, or give a folder"):
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))


def network_shape(kind: Any, folder: Path, field: str) -> Any:
    """A network of a pipeline on the meta device, once its file has been compared with it."""
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"{field}: {str(folder)!r} is not there or has no *.safetensors; restore that part of the model"
        )
    safe = {"trust_remote_code": False} if kind.__name__.startswith("Auto") else {}  # the others know no such argument
    with no_questions(), one_sentence(f"{field}: {str(folder)!r} cannot be loaded", "restore that part of the model"):
        network, found = kind.from_pretrained(
            folder,
            variant=own_variant(folder),
            output_loading_info=True,
            device_map={"": "meta"},
            use_safetensors=True,
            local_files_only=True,
            **safe,
        )
    check_loaded(found, f"{field}: {str(folder)!r}")
    return network


def own_variant(folder: Path) -> str | None:
    """``fp16`` or ``bf16`` where a part's folder has its weights in that variant alone, else None."""
    variants = {match and match[1] for match in (VARIANT.search(file.name) for file in folder.glob("*.safetensors"))}
    return variants.pop() if len(variants) == 1 else None


def check_loaded(found: dict[str, Any], what: str) -> None:
    """Raise InputError for tensors that a library would have made up."""
    missing = sorted(str(name) for name in found["missing_keys"] if not str(name).endswith("position_ids"))
    other = sorted(str(entry) for entry in found["mismatched_keys"])
    if missing or other:
        wrong = f"lack {missing[0]!r}" if missing else f"have another shape than the config says: {other[0][:120]}"
        raise InputError(f"{what}: its weights {wrong}; restore that part of the model")
