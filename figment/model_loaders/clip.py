"""Ways into a CLIP of open_clip, or of transformers: a folder, a hub id, a name with a tag or a file of weights."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open

from figment.errors import InputError
from figment.model_folders import (
    PROBE,
    check_files,
    check_finite,
    check_module,
    check_tokenizer,
    check_weights,
    one_sentence,
    read_json,
    reason,
)
from figment.model_loaders.clip_transformers import (
    check_transformers_clip,
    is_transformers_folder,
    transformers_clip,
    transformers_tokenizer,
)
from figment.model_loaders.hub import CONFIGS, HUB_ID, fetch, no_questions
from figment.text import shown

LOCAL, HUB = "local-dir:", "hf-hub:"
TOKENIZER_SETTINGS = {"clean": str, "strip_sep_token": bool, "language": str, "reduction_mask": str}  # of open_clip
SIZES = re.compile("width|layers|heads|size|length|dim|queries|depth|ratio")
LIMITS = {"layers": 1000, "vocab_size": 2_000_000, "image_size": 2048, "mlp_ratio": 64}


def open_clip_model(model: str, pretrained: str | None, force_quick_gelu: bool, field: str = "clip.model") -> Any:
    """A CLIP of open_clip on the CPU: ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME``, or a name of open_clip's with ``pretrained``,
    a tag of its or a safetensors file."""
    import open_clip

    folder = _clip_folder(model, field, weights=True)
    if pretrained and folder is None and Path(pretrained).suffix and Path(pretrained).exists():
        if Path(pretrained).suffix != ".safetensors":
            raise InputError(
                f"clip.pretrained: {pretrained!r} is no safetensors file; give such a file, or a tag of open_clip"
            )
        check_weights(Path(pretrained), "clip.pretrained")
    if folder is not None and is_transformers_folder(folder):
        network = transformers_clip(folder, field)
        check_module(network, f"{field}: {model!r}")
        _check_features(network.eval(), transformers_tokenizer(folder, field), f"{field}: {str(folder)!r}")
        return network
    advice = "connect once to fetch the weights, or give an open_clip folder"
    with no_questions(), one_sentence(f"clip: {model!r} with pretrained {pretrained!r} cannot be loaded", advice):
        network = open_clip.create_model(
            f"{LOCAL}{folder}" if folder else model,
            pretrained,
            force_quick_gelu=force_quick_gelu,
            require_pretrained=True,  # or a name without weights would be a CLIP of random ones, and a warning
        )
    check_module(network, f"{field}: {model!r}")
    if folder is not None:
        _check_features(network.eval(), open_clip_tokenizer(model, field), f"{field}: {str(folder)!r}")
    return network


def _check_features(network: Any, tokenizer: Any, what: str) -> None:
    size = network.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    with one_sentence(f"{what} cannot be used", "restore its config and weights"), torch.inference_mode():
        texts, images = network.encode_text(tokenizer([PROBE])), network.encode_image(torch.zeros(1, 3, height, width))
    check_finite({"features": torch.cat([texts.flatten(), images.flatten()])}, what)
    if texts.shape != images.shape:
        raise InputError(
            f"{what}: texts have {texts.shape[-1]} features, images {images.shape[-1]}; restore its config"
        )


def open_clip_tokenizer(model: str, field: str = "clip.model") -> Any:
    """The tokenizer that belongs to ``open_clip_model``."""
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    folder = _clip_folder(model, field, weights=False)
    if folder is not None and is_transformers_folder(folder):
        return transformers_tokenizer(folder, field)
    what, advice = f"{field}: the tokenizer of {model!r}", "restore its files"
    with no_questions(), one_sentence(f"{what} cannot be loaded", advice):
        if folder is None:
            text = (open_clip.get_model_config(model) or {}).get("text_cfg", {})
            safe = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
            return open_clip.get_tokenizer(model, **safe)
        text = read_json(folder / "open_clip_config.json", field)["model_cfg"]["text_cfg"]
        length, settings = text.get("context_length", 77), text.get("tokenizer_kwargs") or {}
        if not text.get("hf_tokenizer_name"):
            return SimpleTokenizer(context_length=length, **settings)
        own = [
            file for file in folder.iterdir() if file.name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece"))
        ]
        source = text["hf_tokenizer_name"] if model.startswith(HUB) and not own else str(folder)
        tokenizer = HFTokenizer(
            source,
            context_length=length,
            tokenizer_mode=text.get("tokenizer_mode"),
            trust_remote_code=False,
            **settings,
        )
    check_tokenizer(tokenizer, what, text.get("vocab_size") if not text.get("hf_model_name") else None)
    return tokenizer


def _clip_folder(model: str, field: str, weights: bool) -> Path | None:
    """Where a CLIP's files are, checked; None for a name of open_clip's own."""
    if model.startswith(HUB):
        patterns = [*CONFIGS, "open_clip*.safetensors"] if weights else CONFIGS
        folder = fetch(model.removeprefix(HUB), None, field, patterns)
        if weights and is_transformers_folder(folder):
            folder = fetch(model.removeprefix(HUB), None, field, [*CONFIGS, "model*.safetensors"])
    elif model.startswith(LOCAL):
        folder = Path(model.removeprefix(LOCAL))
    else:
        return None
    if is_transformers_folder(folder):
        check_transformers_clip(folder, field, weights)
        return folder
    if not (folder / "open_clip_config.json").is_file():
        raise InputError(
            f"{field}: {str(folder)!r} holds no open_clip_config.json; give a folder of open_clip or transformers, or a name of "
            "open_clip"
        )
    check_files(folder, field, weights)
    check_clip_config(folder / "open_clip_config.json", field)
    if weights:
        _check_clip_weights(folder, field)
        _check_clip_sizes(folder / "open_clip_config.json", field)
    return folder


def _check_clip_weights(folder: Path, field: str) -> None:
    """Raise InputError for a folder of which open_clip would take no safetensors: it prefers some names of pickles to others."""
    pickles = [folder / f"open_clip_pytorch_model{suffix}" for suffix in (".bin", ".pth")]
    for file in pickles:
        if file.exists() and not list(folder.glob("open_clip*.safetensors")):
            raise InputError(
                f"{field}: {file} is pickled, which can run code; give the weights as open_clip_model.safetensors"
            )
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{field}: {str(folder)!r} cannot be loaded: it has no weights (*.safetensors); restore them")


def _check_clip_sizes(file: Path, field: str) -> None:
    """Raise InputError for sizes that no tensor of the folder's weights has: open_clip takes the memory before it compares."""
    shapes: list[tuple[int, ...]] = []
    for weights in file.parent.glob("*.safetensors"):
        with safe_open(weights, "pt") as tensors:
            shapes += [tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118
    largest = max((size for shape in shapes for size in shape), default=0)
    config = read_json(file, field)["model_cfg"]
    sizes: dict[tuple[str, ...], Any] = {("embed_dim",): config.get("embed_dim")}
    for part in ("vision_cfg", "text_cfg", "multimodal_cfg"):
        inner = config.get(part) or {}
        sizes |= {(part, name): inner.get(name) for name in ("width", "vocab_size", "context_length", "n_queries")}
        layers = inner.get("layers")
        count = sum(layers) if isinstance(layers, list) else layers
        if isinstance(count, int) and count > len(shapes):
            raise InputError(
                f"{field}: {file}: {part}.layers is {shown(layers)}, more than the weights have; restore the file"
            )
    for path, size in sizes.items():
        if isinstance(size, int) and size > largest:
            raise InputError(
                f"{field}: {file}: {'.'.join(path)} is {shown(size)}, the weights' largest size is {largest}; restore the file"
            )


def check_clip_config(file: Path, field: str) -> None:
    """Raise InputError for an open_clip_config.json that holds anything but what describes a model: sizes and names, of the right
    types. What it may pass on to a tokenizer is in ``TOKENIZER_SETTINGS``."""
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg
    from open_clip.transform import PreprocessCfg

    where, content = f"{field}: {file}", read_json(file, field)
    config = _object(content, "model_cfg", where)
    parts = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}
    parts |= {"multimodal_cfg": MultimodalCfg} if "multimodal_cfg" in config else {}
    types = {"embed_dim": int, "quick_gelu": bool, "init_logit_scale": float, "init_logit_bias": float}
    types |= {"nonscalar_logit_scale": bool, "custom_text": bool}
    _typed(config, types | dict.fromkeys(parts, dict), f"{where}: model_cfg")
    for name, kind in parts.items():
        fields = {entry.name: entry.type for entry in dataclasses.fields(kind)}
        _typed(_object(config, name, f"{where}: model_cfg"), fields, f"{where}: model_cfg.{name}")
    text, vision = config["text_cfg"], config["vision_cfg"]
    settings = text.get("tokenizer_kwargs") or {}
    _only(settings, TOKENIZER_SETTINGS, f"{where}: model_cfg.text_cfg.tokenizer_kwargs")
    for name, value in settings.items():
        if not isinstance(value, TOKENIZER_SETTINGS[name]):
            raise InputError(f"{where}: model_cfg.text_cfg.tokenizer_kwargs.{name} is {shown(value)}; restore the file")
    for name in ("hf_model_name", "hf_tokenizer_name"):
        value = text.get(name)
        if value and not (HUB_ID.fullmatch(value) and (name != "hf_model_name" or not Path(value).exists())):
            raise InputError(f"{where}: model_cfg.text_cfg.{name} is {shown(value)}; only a hub id belongs there")
    _check_timm(vision.get("timm_model_name"), where)
    preprocess = content.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        raise InputError(f"{where}: preprocess_cfg is {shown(preprocess)}; a JSON object belongs there")
    fields = {entry.name: entry.type for entry in dataclasses.fields(PreprocessCfg)}
    _typed(preprocess, fields, f"{where}: preprocess_cfg")
    for name in ("mean", "std"):
        values = preprocess.get(name, (1, 1, 1))
        if len(values) != 3 or not all(abs(v) < 1000 and (name == "mean" or v > 0) for v in values):
            raise InputError(f"{where}: preprocess_cfg.{name} is {shown(values)}; three numbers belong there")


def _check_timm(name: str | None, where: str) -> None:
    import timm

    if name is not None and name.partition(".")[0] not in timm.list_models():
        raise InputError(f"{where}: model_cfg.vision_cfg.timm_model_name: timm has no {shown(name)}; restore the file")


def _object(content: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        found = shown(value) if name in content else "missing"
        raise InputError(f"{where}: {name} is {found}; a JSON object belongs there, restore the file")
    return value


def _only(content: Any, known: Any, where: str) -> None:
    if not isinstance(content, dict):
        raise InputError(f"{where} is {shown(content)}; a JSON object belongs there, restore the file")
    if unknown := sorted(content.keys() - set(known)):
        raise InputError(f"{where}: {shown(unknown[0])} is no setting that a downloaded model may have; remove it")


def _typed(content: dict[str, Any], types: dict[str, Any], where: str) -> None:
    """Raise InputError for entries that are not in ``types``, or of another type."""
    _only(content, types, where)
    for name, value in content.items():
        if value is None:
            continue
        try:
            TypeAdapter(types[name]).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise InputError(f"{where}.{name} is {shown(value)} ({reason(error)}); restore the file") from error
    _whole_numbers({name: value for name, value in content.items() if SIZES.search(name)}, where)


def _whole_numbers(content: dict[str, Any], where: str) -> None:
    for name, value in content.items():
        for number in value if isinstance(value, list) else [value]:
            limit = LIMITS.get(name, 65_536)
            if isinstance(number, int | float) and not 0 <= number <= limit:
                raise InputError(
                    f"{where}.{name} is {shown(number)}; from 0 to {limit:,} belongs there, restore the file"
                )
