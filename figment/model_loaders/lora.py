"""LoRA files of diffusers, peft and kohya. They are untrusted: safetensors alone, and what they change is compared with the
model's networks before a library reads them."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from figment.errors import InputError
from figment.files import atomic, sha256_file
from figment.model_folders import check_config, one_sentence, read_json, read_tensors, reason
from figment.text import shown

SETTINGS = (
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "use_dora", "lora_bias", "bias",
    "peft_type", "lora_dropout", "fan_in_fan_out", "inference_mode", "init_lora_weights", "exclude_modules",
)  # fmt: skip
KEPT = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "use_dora", "lora_bias")
METADATA = "lora_adapter_metadata"  # where diffusers notes a LoRA's settings
PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
PEFT = "base_model.model."
LAYER = re.compile(r"(?P<module>.+)\.(?P<side>lora_A|lora_B|lora_magnitude_vector)(\.(weight|bias))?")


def lora_name(path: Path, field: str) -> str:
    """The SHA-256 by which rows refer to a LoRA: of the file, or of what peft's folder is as one file of diffusers."""
    return _read(path, _stamp(path, field), field)[0]


def place_lora(path: Path, folder: Path, field: str) -> str:
    """Put a LoRA into ``folder`` as ``<SHA-256>.safetensors``, where the rows of a plan beside it find it; the SHA-256."""
    name, content = _read(path, _stamp(path, field), field)
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        with atomic(file) as partial:
            if content is None:
                shutil.copyfile(path, partial)
            else:
                partial.write_bytes(content)
    return name


def _stamp(path: Path, field: str) -> tuple[int, ...]:
    """What changes when a LoRA's files do. Raises InputError for what is no LoRA by its looks."""
    if path.is_file() and path.suffix != ".safetensors":
        raise InputError(
            f"{field}: {str(path)!r} is no safetensors file; other formats can run code, give a *.safetensors"
        )
    files = [path] if path.is_file() else sorted(path.glob("**/adapter_*"))
    if not files:
        raise InputError(
            f"{field}: {str(path)!r} is neither a file nor a folder of peft (adapter_config.json); give the LoRA's "
            "*.safetensors, or that folder"
        )
    return tuple(number for file in files for number in (file.stat().st_mtime_ns, file.stat().st_size))


@lru_cache(maxsize=64)
def _read(path: Path, stamp: tuple[int, ...], field: str) -> tuple[str, bytes | None]:
    """(SHA-256, the content if it is not the file's own)."""
    if path.is_file():
        return sha256_file(path), None
    content = _from_peft(path, field)
    return hashlib.sha256(content).hexdigest(), content


def _from_peft(folder: Path, field: str) -> bytes:
    """A folder of peft, or one with such a folder for each part of the model, as a file of diffusers."""
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    inside = {part: folder / part for part in PARTS if (folder / part / "adapter_config.json").is_file()}
    for part, own in (inside or {"": folder}).items():
        file = own / "adapter_config.json"
        check_config(file, field)
        config = {name: value for name, value in read_json(file, field).items() if name in KEPT}
        found = read_tensors(own / "adapter_model.safetensors", field)
        keys = {key: key.removeprefix(PEFT) for key in found}
        part = part or _part_of(keys.values())
        tensors |= {f"{part}.{name}": found[key] for key, name in keys.items()}
        settings |= {f"{part}.{name}": value for name, value in config.items()}
    # One entry of metadata: several would be written in another order each time.
    return save(tensors, {METADATA: json.dumps(settings, sort_keys=True)})


def _part_of(names: Any) -> str:
    """Which part of a model layers with these names are of."""
    first = min(names, default="")
    if first.startswith(("down_blocks.", "mid_block.", "up_blocks.", "conv_", "time_embedding.")):
        return "unet"
    return "text_encoder" if first.startswith(("text_model.", "encoder.layers.")) else "transformer"


def check_lora(file: Path, kind: Any, networks: Mapping[str, nn.Module], what: str) -> None:
    """Raise InputError, which begins with ``what``, unless every layer in a LoRA file fits a layer of the networks (by their
    names in a pipeline of class ``kind``): diffusers leaves out with a log line what fits none. Networks may be on the meta
    device."""
    tensors = read_tensors(file, what)
    _check_settings(file, what)
    if odd := next((key for key in tensors if "dora_scale" in key), None):
        raise InputError(f"{what}: {odd!r} is of a DoRA as kohya writes it, which diffusers does not read; give a LoRA")
    advice = "give a LoRA that was trained for this model, as diffusers, peft or kohya write it"
    denoiser: Any = networks.get("unet") or networks.get("transformer")
    config = {"unet_config": denoiser.config} if "unet" in networks else {}
    with one_sentence(f"{what}: cannot be read as a LoRA", advice):
        found = kind.lora_state_dict(dict(tensors), **config)
        state = found[0] if isinstance(found, tuple) else found
        layers = {part: _layers(state, part) for part in kind._lora_loadable_modules}
    if left := sorted(state.keys() - {key for part in layers for key in state if key.startswith(f"{part}.")}):
        hint = "; of peft's files give the folder with adapter_config.json" if left[0].startswith(PEFT) else ""
        raise InputError(f"{what}: {shown(left[0])} belongs to no part of a {kind.__name__}{hint}; {advice}")
    for part, own in layers.items():
        if own and networks.get(part) is None:
            raise InputError(f"{what}: changes the {part}, which this model has not; {advice}")
        for name, tensor in own.items():
            if wrong := _misfit(networks[part], name, tensor):
                raise InputError(f"{what}: {part}.{name} {wrong}; {advice}")
    if not any(layers.values()):
        raise InputError(f"{what}: changes nothing of this model; {advice}")


def _check_settings(file: Path, what: str) -> None:
    """Raise InputError if a file's settings go beyond ranks and scales: some of peft's import modules or change base weights."""
    try:
        with safe_open(file, "pt") as opened:
            settings = json.loads((opened.metadata() or {}).get(METADATA) or "{}")
        names = {re.sub(rf"^({'|'.join(PARTS)})\.", "", name): value for name, value in settings.items()}
    except (OSError, SafetensorError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{what}: its {METADATA} cannot be read ({reason(error)}); restore the file") from error
    for name, value in names.items():
        plain = (
            name in KEPT or value in (None, False, "none", [], {}) or (name in SETTINGS and name != "init_lora_weights")
        )
        if not plain and not (name == "init_lora_weights" and value in (True, "gaussian")):
            raise InputError(f"{what}: its settings say {name}: {shown(value)}, which is not read; give a plain LoRA")


def _layers(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors for a part of the model, by the names that peft has for them."""
    from diffusers.utils.state_dict_utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    own = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
    if not own or any(".lokr_" in key for key in own):
        return own
    if part.startswith("text_encoder"):
        return convert_state_dict_to_peft(convert_state_dict_to_diffusers(own))
    return own if "lora_A" in next(iter(own)) else convert_unet_state_dict_to_peft(own)


def _misfit(network: nn.Module, name: str, tensor: Tensor) -> str:
    """How a tensor of a LoRA does not fit a network; empty if it does."""
    found = LAYER.fullmatch(name)
    if ".lokr_" in name:
        module = name.partition(".lokr_")[0]
    elif found:
        module = found["module"]
    else:
        return "is no layer of a LoRA"
    modules = dict(network.named_modules())
    layer = modules.get(module) or modules.get(module.removeprefix("text_model."))
    weight = getattr(getattr(layer, "base_layer", layer), "weight", None)
    if weight is None:
        return "changes a layer that the model has not"
    if not found or found["side"] == "lora_magnitude_vector" or tensor.dim() < 2:
        return ""
    of_input = found["side"] == "lora_A"
    sizes = (tensor.shape[1], weight.shape[1]) if of_input else (tensor.shape[0], weight.shape[0])
    return "" if sizes[0] == sizes[1] else f"is for layers of {sizes[0]}, the model's has {sizes[1]}"
