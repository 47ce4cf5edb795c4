"""CLIP as a judge of images: any open_clip model, text features encoded once, scores that do not depend on the batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from figment.clip.config import ClipConfig
from figment.devices import choose_device
from figment.errors import InputError
from figment.files import digest, sha256_folder
from figment.labels import LabelSpace, nearest
from figment.model_folders import check_texts
from figment.model_loaders.clip import open_clip_model, open_clip_tokenizer
from figment.types import Resize
from models.fast_resnet import make_fast

RESIZES: dict[tuple[bool, str], Resize] = {
    (False, "bicubic"): "bicubic", (False, "bilinear"): "bilinear",
    (True, "bicubic"): "squash_bicubic", (True, "bilinear"): "squash",
}  # by whether the whole image is seen, and the interpolation  # fmt: skip


def check_clip(config: ClipConfig) -> None:
    """Raise InputError if ``config`` gives a name that open_clip does not know."""
    if ":" not in config.model and config.model not in open_clip.list_models():
        hint = ", ".join(nearest(config.model, open_clip.list_models()))
        raise InputError(f"clip.model: open_clip has no {config.model!r}; the nearest names are {hint}")


def load_clip(config: ClipConfig, names: Sequence[str] = ()) -> Any:
    """An open_clip model, on the CPU. Raises InputError if it is not known, its weights cannot be loaded, its folder asks for
    code, or its tokenizer knows nothing of one of the class ``names``."""
    check_clip(config)
    model = open_clip_model(config.model, config.pretrained, learned_with_quick_gelu(config))
    if names:
        check_texts(open_clip_tokenizer(config.model), names, f"clip.model: {config.model!r}")
    return model


def learned_with_quick_gelu(config: ClipConfig) -> bool:
    """Whether the weights, such as all of OpenAI's, are for an activation that most model names do not mean: open_clip gives
    ``ViT-B-32`` another one than ``ViT-B-32-quickgelu`` and only warns when the weights do not fit."""
    weights = open_clip.get_pretrained_cfg(config.model, config.pretrained) if config.pretrained else {}
    return bool(weights.get("quick_gelu"))


def clip_digest(config: ClipConfig) -> str:
    """What tells one CLIP's features from another's: the content of a local folder, or the name and its weights."""
    folder = Path(config.model.removeprefix("local-dir:"))
    content = sha256_folder(folder) if folder.is_dir() else digest([config.model, config.pretrained])
    return content if config.precision == "float32" else digest([content, config.precision])


class ClipScorer:
    """Zero-shot class logits of images."""

    def __init__(self, config: ClipConfig):
        self.config = config
        self.device = choose_device(config.device)
        model = load_clip(config)
        self.dtype = getattr(torch, config.precision)
        self.model = model.to(self.device, self.dtype).eval().requires_grad_(False)
        self.model.visual = make_fast(self.model.visual)
        self.tokenizer = open_clip_tokenizer(config.model)
        size = model.visual.image_size
        self.size = size if isinstance(size, int) else size[0]
        settings = open_clip.get_model_preprocess_cfg(model)
        self.mean = torch.tensor(settings["mean"], device=self.device)[:, None, None]
        self.std = torch.tensor(settings["std"], device=self.device)[:, None, None]
        self.interpolation = settings["interpolation"] if settings["interpolation"] == "bilinear" else "bicubic"
        whole = settings["resize_mode"] != "shortest"
        self.resize: Resize = RESIZES[whole, self.interpolation]  # of images of any shape, to ``size``
        self.bias = getattr(model, "logit_bias", None)

    @torch.inference_mode()
    def text_features(self, labels: LabelSpace) -> Tensor:
        """(C, D) unit vectors: each class's prompt ensemble, averaged."""
        names = [label.clip_name for label in labels.labels]
        features = []
        for name in names:
            others = [other for other in names if other != name]
            texts = [
                template.format(name=name, other=other)
                for template in self.config.templates
                for other in (others if "{other}" in template else [""])
            ]
            features.append(F.normalize(self.prompt_features(texts).mean(0), dim=0))
        return torch.stack(features)

    @torch.inference_mode()
    def prompt_features(self, texts: Sequence[str]) -> Tensor:
        """(N, D) unit vectors of whole prompts."""
        check_texts(self.tokenizer, texts, f"clip.model: {self.config.model!r}")
        tokens = self.tokenizer(list(texts)).to(self.device)
        parts = [self.model.encode_text(p, normalize=True) for p in tokens.split(self.config.batch_size)]
        return self.unit(torch.cat(parts))

    @torch.inference_mode()
    def image_features(self, pixels: Tensor) -> Tensor:
        """(N, D) unit vectors of images (N, 3, H, W), uint8 or float in [0, 1]; resized with antialiasing on the device."""
        return torch.cat([self.features(part.to(self.device)) for part in pixels.split(self.config.batch_size)])

    def features(self, pixels: Tensor) -> Tensor:
        """As ``image_features``, of one batch on the device, and differentiable."""
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode=self.interpolation, antialias=True).clamp(
                0, 1
            )
        return self.unit(self.model.encode_image(((pixels - self.mean) / self.std).to(self.dtype), normalize=True))

    def unit(self, features: Tensor) -> Tensor:
        """Unit vectors in float32 of what the network gives."""
        return features if features.dtype == torch.float32 else F.normalize(features.float(), dim=-1)

    @torch.inference_mode()
    def logits(self, pixels: Tensor, text_features: Tensor) -> Tensor:
        """(N, C) logits of images: softmax of a row gives zero-shot probabilities."""
        return self.compare(self.image_features(pixels), text_features)

    @torch.inference_mode()
    def compare(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """(N, C) cosine similarities of unit vectors times the model's learned scale."""
        return self.model.logit_scale.float().exp() * image_features.to(self.device) @ text_features.t()

    def presence(self, logits: Tensor) -> Tensor:
        """(N, C) probabilities that each class is there at all, whatever others are, as SigLIP learned them. Raises InputError
        for a model without a bias."""
        self.check_presence()
        bias: Tensor = self.model.logit_bias
        return (logits + bias.float().to(logits.device)).sigmoid()

    def check_presence(self) -> None:
        """Raise InputError if the model has no such probabilities."""
        if self.bias is None:
            raise InputError(
                f"acceptance.scores: sigmoid is for a SigLIP, and {self.config.model!r} has no bias that says whether a class is "
                "there; set softmax, or another clip.model"
            )
