"""CLIP as a judge of pictures: any open_clip model, text features encoded once, scores that do not depend on the batch."""

from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from figment.devices import choose_device
from figment.errors import InputError
from figment.files import digest, sha256_folder
from figment.labels import LabelSpace, nearest
from models.fast_resnet import make_fast

ZERO_SHOT_TEMPLATES = ("a photo of a {name}", "an image of a {name}", "{name}")


class ClipConfig(BaseModel):
    """Any open_clip model: ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME``, or a name such as ViT-B-32 with ``pretrained``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    pretrained: str | None = None
    templates: tuple[str, ...] = ZERO_SHOT_TEMPLATES
    batch_size: int = Field(256, gt=0)
    device: str = "auto"


def check_clip(config: ClipConfig) -> None:
    """Raise InputError if ``config`` names a folder that holds no open_clip model, or a name open_clip does not know."""
    folder = config.model.removeprefix("local-dir:")
    if folder != config.model and not (Path(folder) / "open_clip_config.json").is_file():
        raise InputError(
            f"clip.model: {folder!r} holds no open_clip_config.json; give an open_clip folder or model name"
        )
    if ":" not in config.model and config.model not in open_clip.list_models():
        hint = ", ".join(nearest(config.model, open_clip.list_models()))
        raise InputError(f"clip.model: open_clip has no {config.model!r}; the nearest names are {hint}")


def clip_digest(config: ClipConfig) -> str:
    """What tells one CLIP's features from another's: the content of a local folder, or the name and its weights."""
    folder = Path(config.model.removeprefix("local-dir:"))
    return sha256_folder(folder) if folder.is_dir() else digest([config.model, config.pretrained])


class ClipScorer:
    """Zero-shot class logits of pictures."""

    def __init__(self, config: ClipConfig):
        check_clip(config)
        self.config = config
        self.device = choose_device(config.device)
        model, _, _ = open_clip.create_model_and_transforms(config.model, pretrained=config.pretrained)
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.model.visual = make_fast(self.model.visual)
        self.tokenizer = open_clip.get_tokenizer(config.model)
        size = model.visual.image_size
        self.size = size if isinstance(size, int) else size[0]
        settings = open_clip.get_model_preprocess_cfg(model)
        self.mean = torch.tensor(settings["mean"], device=self.device)[:, None, None]
        self.std = torch.tensor(settings["std"], device=self.device)[:, None, None]

    @torch.inference_mode()
    def text_features(self, labels: LabelSpace) -> Tensor:
        """(C, D) unit vectors: each class's prompt ensemble, averaged."""
        features = []
        for label in labels.labels:
            tokens = self.tokenizer([t.format(name=label.prompt_name) for t in self.config.templates]).to(self.device)
            features.append(F.normalize(self.model.encode_text(tokens, normalize=True).mean(0), dim=0))
        return torch.stack(features)

    @torch.inference_mode()
    def image_features(self, pixels: Tensor) -> Tensor:
        """(N, D) unit vectors of pictures (N, 3, H, W), uint8 or float in [0, 1]; resized with antialiasing on the device."""
        return torch.cat([self._image_features(part.to(self.device)) for part in pixels.split(self.config.batch_size)])

    def _image_features(self, pixels: Tensor) -> Tensor:
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return self.model.encode_image((pixels - self.mean) / self.std, normalize=True)

    @torch.inference_mode()
    def logits(self, pixels: Tensor, text_features: Tensor) -> Tensor:
        """(N, C) logits of pictures: softmax of a row gives zero-shot probabilities."""
        return self.compare(self.image_features(pixels), text_features)

    @torch.inference_mode()
    def compare(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """(N, C) cosine similarities of unit vectors times the model's learnt scale."""
        return self.model.logit_scale.exp() * image_features.to(self.device) @ text_features.t()
