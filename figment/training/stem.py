"""First layers for small pictures: architectures made for 224 px throw away most of 32 px before they look (sec. 5.1)."""

from typing import Any

import torch
from torch import nn

from figment.errors import InputError

FACTORS = {"native": 1, "half": 2, "small": 4}  # how many times more pixels a side the first layers keep


def patch_arguments(model: nn.Module, factor: int) -> dict[str, Any]:
    """``patch_size`` for a model whose first layer cuts the picture into patches (ViT, ConvNeXt); {} for any other."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.kernel_size != first.stride or first.stride[0] == 1:
        return {}
    return {"patch_size": max(1, int(first.stride[0]) // factor)}


def keep_resolution(model: nn.Module, factor: int, name: str) -> None:
    """Undo in place the last (``factor`` 2) or both (4) of the first two halvings: a ResNet's stride and pooling, the
    first two strided convolutions of a MobileNet. Raises InputError for a model that has not two of them."""
    halvings = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2))
    ][:2]
    if len(halvings) < 2:
        raise InputError(f"training.stem: {name!r} does not halve the picture twice; use stem: native")
    for path in halvings if factor == 4 else halvings[1:]:
        module = model.get_submodule(path)
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        else:
            model.set_submodule(path, nn.Identity())


def on_meta(build: Any) -> nn.Module:
    """What ``build`` makes, without memory or random numbers: to look at."""
    with torch.device("meta"):
        return build()
