"""First layers for small images: architectures made for 224 px throw away most of 32 px before they look (sec. 5.1)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from figment.errors import InputError

FACTORS = {"native": 1, "half": 2, "small": 4}  # how many times more pixels a side the first layers keep


def patch_arguments(model: nn.Module, factor: int) -> dict[str, Any]:
    """``patch_size`` for a transformer, whose tokens are patches of the image; {} for any other."""
    embedding = getattr(model, "patch_embed", None)
    first = next((m for m in embedding.modules() if isinstance(m, nn.Conv2d)), None) if embedding else None
    return {"patch_size": max(1, int(first.stride[0]) // factor)} if first else {}


def keep_resolution(model: nn.Module, factor: int, name: str) -> None:
    """Undo in place the last (``factor`` 2) or both (4) of the first two halvings: a ResNet's stride and pooling, the
    first two strided convolutions of a MobileNet, the one convolution that does both in a ConvNeXt.

    Raises InputError for a model that has not two of them."""
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    if first.stride == (4, 4):
        first.stride = (4 // factor,) * 2
        first.padding = "same" if factor == 4 else tuple((k - 2) // 2 for k in first.kernel_size)
        return
    halvings = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2))
    ][:2]
    if len(halvings) < 2:
        raise InputError(f"training.stem: {name!r} does not halve the image twice; use stem: native")
    for path in halvings if factor == 4 else halvings[1:]:
        module = model.get_submodule(path)
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        else:
            model.set_submodule(path, nn.Identity())


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """What ``build`` makes, without memory or random numbers: to look at."""
    with torch.device("meta"):
        return build()
