"""Files of a downloaded model are untrusted: they are read here, within bounds, before any library opens the folder.

No folder runs code: configs may not ask for it, weights are safetensors, and every loader in ``figment.model_loaders`` says
``trust_remote_code=False``. Whatever is wrong with a folder is an InputError of one sentence.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from figment.errors import InputError
from figment.text import one_line, reason_of, shown

MAX_BYTES = 64 * 2**20  # of a JSON file; the largest tokenizers take 40 MB
MAX_DEPTH = 32
MAX_INTEGER = 100_000_000  # of a size in a model's config; a vocabulary has about a million entries
MAX_LAYERS = 4096
PICKLED = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")
CODE_KEYS = ("custom_pipeline", "custom_generate", "trust_remote_code")
ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flex_attention")  # others are code, fetched from the hub
REDIRECTIONS = ("quantization_config", "transformers_weights")
QUANTISERS = ("torchao", "bitsandbytes")  # whose quantised weights a generator may have
PROBE = "a photo of a cat"


@contextmanager
def one_sentence(what: str, advice: str) -> Iterator[None]:
    """Whatever a library raises within the block, on a model that it did not expect, becomes ``<what> (<reason>); <advice>``.

    Lack of memory stays what it is: others halve the batch. ``what`` is as much of a sentence as ``CONFIG FIELD: FOLDER cannot
    be loaded``; an InputError that begins with the same field or folder says enough by itself.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except InputError as error:
        if str(error).startswith(what.partition(":")[0]):
            raise
        raise InputError(f"{what} ({error}); {advice}") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of a library in Rust
            raise
        raise InputError(f"{what} ({reason(error)}); {advice}") from error


def reason(error: BaseException) -> str:
    """What an error says, in one short line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return one_line(f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}", limit=200)
    return reason_of(error, limit=200)


def read_json(file: Path, field: str) -> dict[str, Any]:
    """The object in a JSON file of a model. Raises InputError, which names ``field`` and the file, for any other content."""
    content = parse_json(file, field)
    if not isinstance(content, dict):
        raise InputError(
            f"{field}: {file} holds a {type(content).__name__}; a JSON object belongs there, restore the file"
        )
    return content


def parse_json(file: Path, field: str) -> Any:
    """As ``read_json``, of whatever JSON holds."""
    try:
        size = file.stat().st_size if file.is_file() else 0
        if size > MAX_BYTES:
            raise InputError(
                f"{field}: {file} has {size:,} bytes; a config has at most {MAX_BYTES:,}, restore the file"
            )
        content = json.loads(file.read_bytes().decode("utf-8"), parse_constant=_constant) if size else None
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{field}: {file} is no JSON that can be read ({reason(error)}); restore the file") from error
    if content is None:
        raise InputError(f"{field}: {file} is missing or empty; restore that file of the model")
    if _depth(content) > MAX_DEPTH:
        raise InputError(f"{field}: {file} is nested more than {MAX_DEPTH} deep; restore the file")
    return content


def _constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("NaN is not a JSON number")
    return math.inf if name == "Infinity" else -math.inf


def _depth(content: Any) -> int:
    level, depth = [content], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = [v for v in level if isinstance(v, dict | list)]
        level = [item for v in inner for item in (v.values() if isinstance(v, dict) else v)]
    return depth


def check_files(folder: Path, field: str, weights: bool = True) -> None:
    """Raise InputError if a file directly in the folder asks for code or cannot be read, or, with ``weights``, if the folder has
    only weights that are not safetensors, or some that are cut short or not finite."""
    if not folder.is_dir():
        raise InputError(f"{field}: {str(folder)!r} is not there or no folder; restore that part of the model")
    if (folder / "adapter_config.json").exists():
        raise InputError(f"{field}: {folder} is an adapter of another model; give a model that is whole")
    for file in sorted(folder.glob("*.json")):
        check_config(file, field)
    refuse_pickled(folder, field)
    if weights:
        for file in sorted(folder.glob("*.safetensors")):
            check_weights(file, field)


def refuse_pickled(folder: Path, field: str) -> None:
    """Raise InputError for a folder whose weights are pickled only."""
    names = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
    if names and not list(folder.glob("*.safetensors")):
        raise InputError(
            f"{field}: {folder / names[0]} is pickled, which can run code; give the model's weights as safetensors"
        )


def check_config(file: Path, field: str) -> None:
    """Raise InputError for a JSON file that is out of bounds, asks for code, or is no object where a library expects one."""
    read_by_libraries = file.name.endswith(("config.json", "tokenizer.json", "index.json", "vocab.json", "_map.json"))
    content = read_json(file, field) if read_by_libraries else parse_json(file, field)
    if file.name.endswith(("config.json", "index.json")):
        for key, value in _items(content):
            _check_entry(file, field, key, value)


def _items(content: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _items(value)
    elif isinstance(content, list):
        for value in content:
            yield from _items(value)


def _check_entry(file: Path, field: str, key: str, value: Any) -> None:
    where = f"{field}: {file}: {key}"
    if key in CODE_KEYS and value not in (None, False):
        raise InputError(f"{where} asks for code of the model's own; Figment runs none, give a model that needs none")
    if key in ATTENTION_KEYS and value not in ATTENTION:
        raise InputError(f"{where} is {shown(value)}; Figment fetches no kernels, remove the entry")
    method = value.get("quant_method") if key == "quantization_config" and isinstance(value, dict) else None
    if method in QUANTISERS and field.startswith("generator"):
        if find_spec(str(method)) is None:
            raise InputError(
                f"{where}: the weights are quantised by {method}, which is not installed; pip install {method}"
            )
        return
    if key in REDIRECTIONS and value:
        raise InputError(
            f"{where}: weights that are quantised or elsewhere are not read; give the model's full weights"
        )
    if isinstance(value, int) and not isinstance(value, bool) and not key.endswith("max_length"):
        layers = "layers" in key and "index" not in key
        if abs(value) > (MAX_LAYERS if layers else MAX_INTEGER) and file.name == "config.json":
            raise InputError(f"{where} is {shown(value)}; no model is that large, restore the file")


def check_weights(file: Path, field: str) -> None:
    """Raise InputError for safetensors that cannot be read or hold numbers that are not finite."""
    try:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118, no mapping
                check_finite({name: tensors.get_tensor(name)}, f"{field}: {file}")
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise InputError(f"{field}: {file} cannot be read ({reason(error)}); restore it") from error


def read_tensors(file: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises InputError if it cannot be read or they are not finite."""
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise InputError(f"{what}: {file} cannot be read ({reason(error)}); restore it") from error
    check_finite(tensors, f"{what}: {file}")
    return tensors


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise InputError if a tensor holds NaN or infinity. Masks may: they hide what a network shall not see."""
    for name, tensor in tensors.items():
        plain = type(tensor) in (Tensor, nn.Parameter)  # quantised ones are of their library's own types
        if plain and tensor.is_floating_point() and "mask" not in name and not tensor.isfinite().all():
            raise InputError(f"{what}: the weights {name!r} hold NaN or infinity; restore them")


def check_module(module: nn.Module, what: str) -> None:
    """``check_finite`` of a loaded network's parameters, wherever they are."""
    check_finite(dict(module.named_parameters()), what)


def load_state(
    module: nn.Module, tensors: Mapping[str, Tensor], what: str, own: Mapping[str, Tensor] | None = None
) -> None:
    """Into a network, all of it, or all of ``own``, a part of its state. Raises InputError if names or shapes are others than
    the network's."""
    part = module.state_dict() if own is None else own
    missing, unknown = sorted(part.keys() - tensors.keys()), sorted(tensors.keys() - part.keys())
    if missing or unknown:
        wrong = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which its model has not"
        raise InputError(f"{what}: it {wrong}; restore the file, or train again")
    for name, tensor in tensors.items():
        if part[name].shape != tensor.shape:
            raise InputError(
                f"{what}: {name!r} is of shape {tuple(tensor.shape)}, its model's of {tuple(part[name].shape)}; restore the "
                "file, or train again"
            )
    module.load_state_dict(dict(tensors), strict=own is None)


def unreadable(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Those of ``texts`` that a tokenizer of transformers, or one of open_clip around it, knows nothing of: they have no token
    but unknown ones. An empty text is no such text."""
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # what open_clip wraps
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return []  # open_clip's own has every byte in its vocabulary
    return [text for text in texts if text.strip() and not _known_tokens(tokenizer, text)]


def _known_tokens(tokenizer: Any, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    return [
        i for i, token in zip(ids, tokens, strict=True)
        if i != tokenizer.unk_token_id and token is not None and token.strip("▁Ġ ")
    ]  # fmt: skip


def check_tokenizer(tokenizer: Any, what: str, size: int | None = None) -> None:
    """Raise InputError for a tokenizer that knows no word, or has tokens that the network, which has vectors for ``size`` of
    them, does not."""
    advice = "restore its vocabulary (tokenizer.json, or vocab.json with merges.txt)"
    with one_sentence(f"{what} cannot be used", advice):
        nothing = unreadable(tokenizer, [PROBE])
        inner = getattr(tokenizer, "tokenizer", tokenizer)
        ids = inner(PROBE)["input_ids"] if hasattr(inner, "convert_ids_to_tokens") else []
    if nothing:
        raise InputError(f"{what} reads {PROBE!r} as unknown tokens only; {advice}")
    if size is not None and ids and max(ids) >= size:
        raise InputError(
            f"{what} gives token {max(ids)}, its network has {size}; restore the tokenizer that belongs to it"
        )


def check_texts(tokenizer: Any, texts: Sequence[str], what: str) -> None:
    """Raise InputError if ``tokenizer`` reads one of the texts as unknown tokens only."""
    with one_sentence(
        f"{what}: its tokenizer does not take the text", "restore the model, or write the text otherwise"
    ):
        found = unreadable(tokenizer, texts)
    if found:
        raise InputError(
            f"{what}: {found[0][:80]!r} is made of unknown tokens only, so that it would mean nothing; write it in words and "
            "letters that the model knows"
        )
