"""Classifiers: any timm model, and what it says of images."""

from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from figment.datasets.labelled import Images, of_each
from figment.errors import InputError
from figment.labels import nearest
from figment.model_folders import check_module, one_sentence
from figment.text import reason_of
from figment.training.augment import MEAN, STD, normalise
from figment.training.config import TrainingConfig
from figment.training.optimizers import check_optimizer
from figment.training.start import start_from
from figment.training.stem import FACTORS, keep_resolution, on_meta, patch_arguments


def build_classifier(config: TrainingConfig, num_classes: int) -> nn.Module:
    """A timm model without pretrained weights; ``stem`` keeps resolution that its first layers would throw away."""
    if is_hub_name(config.model):
        repository, _, revision = config.model.partition(":")[2].partition("@")
        if not isinstance(try_to_load_from_cache(repository, "config.json", revision=revision or None), str):
            raise InputError(
                f"training.model: {config.model!r} is not in the hub's cache, and a saved model fetches nothing; fetch it "
                "once, if you trust it, with timm.create_model"
            )
    return _build(config, num_classes)


def is_hub_name(name: str) -> bool:
    return name.startswith(("hf_hub:", "hf-hub:"))


def start_classifier(config: TrainingConfig, num_classes: int) -> nn.Module:
    """The model that a training starts from: with the weights that the config names, and its frozen parts frozen."""
    model = _build(config, num_classes, **({"pretrained": True} if config.pretrained else {}))
    if config.pretrained:
        check_module(model, f"training.model: {config.model!r}")
    if config.weights:
        start_from(model, config.weights)
    freeze(model, config.freeze)
    return model


def _build(config: TrainingConfig, num_classes: int, **source: Any) -> nn.Module:
    check_name(config.model)
    factor = FACTORS[config.stem]
    patch = patch_arguments(on_meta(lambda: create(config, num_classes)), factor) if factor > 1 else {}
    model = create(config, num_classes, **patch, **source)
    if factor > 1 and not patch:
        keep_resolution(model, factor, config.model)
    if config.pretrained:
        read_as_pretrained(model)
    return model.to(memory_format=torch.channels_last)


def check_name(name: str) -> None:
    """Raise InputError for a model that timm does not know, or a tag that it has no weights of."""
    if is_hub_name(name):
        return
    architecture, _, tag = name.partition(".")
    if architecture not in timm.list_models():
        hint = nearest(name, timm.list_models())
        raise InputError(f"training.model: timm has no {name!r}; the nearest names are {', '.join(hint)}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise InputError(
            f"training.model: timm has no weights {name!r}; its tags are {', '.join(sorted(tags)) or 'none'}"
        )


def freeze(model: nn.Module, parts: Sequence[str]) -> None:
    """Frozen parts have no gradient and stay in eval mode: their batch norms do not follow the data."""
    names = dict(model.named_modules())
    if unknown := next((part for part in parts if part != "backbone" and part not in names), None):
        known = ", ".join(name for name, _ in model.named_children())
        raise InputError(
            f"training.freeze: the model has no part {unknown!r}; its parts are {known}, or backbone for all but the head"
        )
    chosen = [names[part] for part in parts if part != "backbone"]
    if "backbone" in parts:
        head: nn.Module = model.get_classifier()  # type: ignore[operator]
        model.requires_grad_(False)
        head.requires_grad_(True)
        chosen += [module for module in model.children() if module is not head]
    for module in chosen:
        module.eval().requires_grad_(False)
        module.train = lambda mode=True, own=module: own  # type: ignore[method-assign]  # whatever its parents do


def read_as_pretrained(model: nn.Module) -> None:
    """Images come with ImageNet's statistics; a model that was pretrained with others reads them with its own."""
    settings = resolve_model_data_config(model)
    own, usual = (torch.tensor([settings["mean"], settings["std"]]), torch.tensor([MEAN, STD]))
    if not torch.allclose(own, usual):
        scale, shift = usual[1] / own[1], (usual[0] - own[0]) / own[1]

        def read(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            (x,) = inputs
            return (x * scale.to(x)[:, None, None] + shift.to(x)[:, None, None],)

        model.register_forward_pre_hook(read)


def create(config: TrainingConfig, num_classes: int, **options: Any) -> nn.Module:
    """The timm model as it is; raises InputError for an option it does not take, or weights that cannot be had."""
    if options.get("pretrained") or is_hub_name(config.model):
        advice = "connect once, or name a file of its weights in training.weights"
        with one_sentence(f"training.model: {config.model!r} cannot be loaded", advice):
            return _create(config, num_classes, **options)
    return _create(config, num_classes, **options)


def _create(config: TrainingConfig, num_classes: int, **options: Any) -> nn.Module:
    options |= {"drop_rate": config.dropout} if config.dropout else {}
    options |= {"drop_path_rate": config.drop_path} if config.drop_path else {}
    try:
        return timm.create_model(config.model, num_classes=num_classes, img_size=config.image_size, **options)
    except TypeError:  # most architectures take any size and no such argument
        pass
    try:
        return timm.create_model(config.model, num_classes=num_classes, **options)
    except TypeError as error:
        raise InputError(
            f"training: {config.model!r} does not take all of {', '.join(options)} ({reason_of(error)})"
        ) from error


def check_classifier(config: TrainingConfig, num_classes: int) -> None:
    """Raise InputError, before anything is rendered, if the model cannot be built, or cannot take its weights or the images."""
    model = start_classifier(config, num_classes).eval()
    check_optimizer(config, model)
    try:
        model(torch.zeros(1, 3, config.image_size, config.image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"training.model: {config.model!r} with stem {config.stem} does not take images of {config.image_size} px "
            f"({reason_of(error)}); choose another model, stem or training.image_size"
        ) from error


@torch.inference_mode()
def predict(model: nn.Module, pixels: Tensor, batch_size: int = 512) -> Tensor:
    """Logits (N, C) on the CPU for images (N, 3, S, S) uint8. The model is in eval mode: no batch sees another."""
    device = next(model.parameters()).device
    model.eval()
    parts = (normalise(part.to(device)) for part in pixels.split(batch_size))
    return torch.cat([model(part.contiguous(memory_format=torch.channels_last)).float().cpu() for part in parts])


def predict_all(model: nn.Module, images: Images, predict: Callable[[nn.Module, Tensor], Tensor] = predict) -> Tensor:
    """Logits (N, C) of a set, whether or not memory holds it."""
    return of_each(images, lambda pixels: predict(model, pixels))
