"""Frozen networks that turn images into features: any timm model, or the image tower of any open_clip model."""

import hashlib
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.labelled import Images, of_each
from figment.devices import choose_device
from figment.errors import InputError
from figment.labels import nearest
from figment.model_folders import check_module, check_weights, one_sentence
from figment.training.augment import augment
from figment.training.config import AugmentConfig, BackboneConfig


class Backbone(nn.Module):
    """Images (B, 3, S, S), uint8 or float in [0, 1] -> features (B, D). It has no gradient and never leaves eval mode:
    ``no_grad`` alone lets batch norms follow the data, which is how the published code thaws its frozen network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor, size: int | None = None, unit: bool = False):
        super().__init__()
        self.network = network.requires_grad_(False)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.size, self.unit = size, unit
        self.eval()

    def train(self, mode: bool = True) -> "Backbone":
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def prepare(self, pixels: Tensor) -> Tensor:
        """What the network reads: at its own size if it has one, normalised as when it was trained."""
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if self.size and pixels.shape[-1] != self.size:
            size = (self.size, self.size)
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        return (pixels - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.network(self.prepare(pixels))
        # CLIP's features are directions: of a length that makes a coordinate about one, as in other networks.
        return F.normalize(features, dim=1) * features.shape[1] ** 0.5 if self.unit else features


def load_backbone(config: BackboneConfig) -> Backbone:
    """Raises InputError for a model that is not there."""
    kind, _, name = config.model.partition(":")
    device = choose_device(config.device)
    if kind == "open_clip":
        scorer = ClipScorer(ClipConfig(model=name, pretrained=config.weights, device=config.device))
        return Backbone(scorer.model.visual, scorer.mean, scorer.std, scorer.size, unit=True).to(device)
    if kind != "timm" or name.partition(".")[0] not in timm.list_models():
        hint = ", ".join(nearest(name, timm.list_models()))
        raise InputError(f"backbone.model: {config.model!r}; give open_clip:MODEL or timm:NAME (nearest names: {hint})")
    network = _timm(name, config)
    settings = resolve_model_data_config(network)
    mean, std = (torch.tensor(settings[key])[:, None, None] for key in ("mean", "std"))
    return Backbone(network, mean, std).to(device)


def _timm(name: str, config: BackboneConfig) -> nn.Module:
    source = {"pretrained_cfg_overlay": {"file": config.weights}} if config.weights else {}
    if config.weights and not Path(config.weights).is_file():
        raise InputError(f"backbone.weights: {config.weights}: no such file; give a safetensors file of {name}")
    if config.weights and Path(config.weights).suffix != ".safetensors":
        raise InputError(
            f"backbone.weights: {config.weights} is no .safetensors file; give the weights of {name} as one"
        )
    if config.weights:
        check_weights(Path(config.weights), "backbone.weights")
    advice = "connect once, or name a file of them in backbone.weights"
    with one_sentence(f"backbone.model: the weights of {config.model!r} cannot be loaded", advice):
        try:
            network = timm.create_model(name, pretrained=True, num_classes=0, img_size=config.image_size, **source)
        except TypeError:  # most architectures take any size and no such argument
            network = timm.create_model(name, pretrained=True, num_classes=0, **source)
    check_module(network, f"backbone.model: {config.model!r}")
    return network


@torch.inference_mode()
def view_features(
    images: Images, backbone: Backbone, batch_size: int, augmentation: AugmentConfig, views: int, seed: int
) -> Tensor:
    """(N, 1 + views, D) on the CPU, in the set's order: each image as it is, then in ``views`` random views. Drawn once,
    so that training looks features up instead of decoding, changing and forwarding an image for every draw. An image's
    views follow from ``seed`` and its pixels, not from its company."""

    def see(pixels: Tensor) -> Tensor:
        found = []
        for some in pixels.split(max(1, batch_size // (1 + views))):
            shown = torch.stack([_shown(image, augmentation, views, seed) for image in some])
            features = backbone(shown.flatten(0, 1).to(backbone.device)).float().cpu()
            found.append(features.unflatten(0, (len(some), 1 + views)))
        return torch.cat(found)

    return of_each(images, see)


def _shown(image: Tensor, augmentation: AugmentConfig, views: int, seed: int) -> Tensor:
    """(1 + views, 3, S, S) in [0, 1] of an image (3, S, S) uint8."""
    plain = image[None].float() / 255
    if not views:
        return plain
    content = hashlib.sha256(f"{seed} ".encode() + image.numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(content[:7]))
    return torch.cat([plain, augment(image.expand(views, -1, -1, -1), augmentation, generator)])
