"""Ways into a CLIP or SigLIP as transformers saves it, in the shape of open_clip's models."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.errors import InputError
from figment.model_folders import check_files, check_tokenizer, one_sentence, read_json
from figment.model_loaders.hub import network_shape, no_questions
from figment.text import shown

KINDS = {"clip": "CLIPModel", "siglip": "SiglipModel"}  # by model_type
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # of Pillow's numbers


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder without open_clip's config holds a model of transformers."""
    return (folder / "config.json").is_file() and not (folder / "open_clip_config.json").is_file()


class _Visual(nn.Module):
    def __init__(self, network: Any, image_size: int, preprocess: dict[str, Any]):
        super().__init__()
        self.network, self.image_size, self.preprocess_cfg = network, image_size, preprocess

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network.get_image_features(pixel_values=pixels).pooler_output


class TransformersClip(nn.Module):
    """A CLIP of transformers that is asked as one of open_clip is. ``logit_bias`` is None but of SigLIP."""

    def __init__(self, network: Any, image_size: int, preprocess: dict[str, Any]):
        super().__init__()
        self.visual = _Visual(network, image_size, preprocess)
        self.logit_scale, self.logit_bias = network.logit_scale, getattr(network, "logit_bias", None)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        features = self.visual(pixels)
        return F.normalize(features, dim=-1) if normalize else features

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        features = self.visual.network.get_text_features(input_ids=tokens).pooler_output
        return F.normalize(features, dim=-1) if normalize else features


class TransformersTokenizer:
    """Texts as (N, L) tokens, padded as the models learned them: to the whole length."""

    def __init__(self, tokenizer: Any, length: int):
        self.tokenizer, self.length = tokenizer, length

    def __call__(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        return tokens["input_ids"]


def transformers_clip(folder: Path, field: str) -> TransformersClip:
    """The model in a checked folder, in float32 on the CPU."""
    import transformers

    kind = getattr(transformers, _kind(folder, field))
    network_shape(kind, folder, field)
    preprocess = _preprocess(folder, field)
    with no_questions(), one_sentence(f"{field}: {str(folder)!r} cannot be loaded", "restore the model"):
        network = kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, local_files_only=True)
        size = network.config.vision_config.image_size
    if preprocess["size"] != size:
        raise InputError(
            f"{field}: {folder / 'preprocessor_config.json'} makes images of {preprocess['size']} px, the model reads {size}; "
            "restore the file"
        )
    return TransformersClip(network, size, preprocess)


def transformers_tokenizer(folder: Path, field: str) -> TransformersTokenizer:
    """The tokenizer in a checked folder."""
    from transformers import AutoTokenizer

    _kind(folder, field)
    text = read_json(folder / "config.json", field).get("text_config") or {}
    what = f"{field}: the tokenizer of {str(folder)!r}"
    with no_questions(), one_sentence(f"{what} cannot be loaded", "restore its files"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        length = int(text.get("max_position_embeddings") or min(tokenizer.model_max_length, 77))
    check_tokenizer(tokenizer, what, text.get("vocab_size"))
    return TransformersTokenizer(tokenizer, length)


def check_transformers_clip(folder: Path, field: str, weights: bool) -> None:
    """Raise InputError for a folder that holds no CLIP or SigLIP that can be read."""
    _kind(folder, field)
    check_files(folder, field, weights)


def _kind(folder: Path, field: str) -> str:
    found = read_json(folder / "config.json", field).get("model_type")
    if found not in KINDS:
        raise InputError(
            f"{field}: {folder / 'config.json'}: model_type is {shown(found)}; a folder of open_clip "
            f"(open_clip_config.json), or of transformers' {' or '.join(KINDS)} belongs there"
        )
    return KINDS[found]


def _preprocess(folder: Path, field: str) -> dict[str, Any]:
    """What its image processor does, as open_clip says it."""
    file = folder / "preprocessor_config.json"
    config = read_json(file, field)
    size, crop = config.get("size"), config.get("crop_size")
    sides = {"shortest": _side(size, "shortest_edge"), "squash": _side(size, "height", "width")}
    mode = "shortest" if sides["shortest"] else "squash"
    side = sides[mode]
    if mode == "shortest" and config.get("do_center_crop", True) and _side(crop, "height", "width") != side:
        raise InputError(f"{field}: {file}: size is {shown(size)}, crop_size {shown(crop)}; only equal ones are read")
    mean, std = (config.get(name) for name in ("image_mean", "image_std"))
    good = _three(mean, -1000.0) and _three(std, 1e-6) and config.get("resample") in INTERPOLATIONS
    if not side or not good:
        raise InputError(
            f"{field}: {file}: size, image_mean, image_std or resample are not those of a CLIP; restore the file"
        )
    return {
        "size": side, "mean": mean, "std": std, "interpolation": INTERPOLATIONS[config["resample"]], "resize_mode": mode,
    }  # fmt: skip


def _three(numbers: Any, least: float) -> bool:
    return (
        isinstance(numbers, list)
        and len(numbers) == 3
        and all(isinstance(n, int | float) and least <= n < 1000 for n in numbers)
    )


def _side(size: Any, *names: str) -> int | None:
    """The side that a size of transformers gives by these names: one number, or a mapping of equal ones."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    found = {size.get(name) for name in names} if isinstance(size, dict) else set()
    side = found.pop() if len(found) == 1 else None
    return side if isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 2048 else None
