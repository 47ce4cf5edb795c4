"""The optimizer of a training, as timm makes it."""

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn

from figment.errors import InputError
from figment.labels import nearest
from figment.model_folders import reason
from figment.training.config import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """By default AdamW over all parameters. Groups of layers have an ``lr_scale`` if rates fall from layer to layer."""
    check_name(config.optimizer)
    try:
        return create_optimizer_v2(
            model if config.layer_decay or not config.decay_all else [p for p in model.parameters() if p.requires_grad],
            opt=config.optimizer,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            filter_bias_and_bn=not config.decay_all,
            layer_decay=config.layer_decay,
        )
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(
            f"training.optimizer: {config.optimizer!r} cannot be made ({reason(error)}); choose another"
        ) from error


def check_name(optimizer: str) -> None:
    """Raise InputError for a name that timm does not know."""
    if optimizer.lower() not in list_optimizers():
        hint = ", ".join(nearest(optimizer, list_optimizers()))
        raise InputError(f"training.optimizer: timm has no {optimizer!r}; the nearest names are {hint}")


def check_optimizer(config: TrainingConfig, model: nn.Module) -> None:
    """Raise InputError if the config's optimizer cannot be made, or nothing of the model learns."""
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError("training.freeze: nothing is left that learns; freeze fewer parts")
    make_optimizer(model, config)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next update, times each group's own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
