"""The schedulers of diffusers: which of them can take the place of a model's own."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers

from figment.errors import InputError
from figment.labels import nearest
from figment.model_folders import one_sentence


def kind_of(scheduler: type, config: Mapping[str, Any]) -> str:
    """What a scheduler with these settings has a model predict: ``flow``, ``diffusion`` (noise, its velocity or the image), or
    ``other``."""
    accepted = inspect.signature(scheduler).parameters
    if scheduler.__name__.startswith("FlowMatch") or ("use_flow_sigmas" in accepted and config.get("use_flow_sigmas")):
        return "flow"
    return "diffusion" if "prediction_type" in accepted else "other"


def check_scheduler(name: str, own: str, config: Mapping[str, Any], takes: Sequence[str] = ()) -> None:
    """Raise InputError if the scheduler ``name`` cannot take the place of a model's ``own``, whose settings are ``config``: it is
    none, is for models that predict something else, or lacks an argument that the pipeline ``takes`` ("method.argument")."""
    scheduler = getattr(diffusers, name, None)
    if not isinstance(scheduler, type) or not hasattr(scheduler, "set_timesteps"):
        hint = nearest(name, [n for n in dir(diffusers) if n.endswith("Scheduler")])
        meant = f"; did you mean {hint[0]!r}?" if hint else f"; leave it out for the model's own, {own}"
        raise InputError(f"generator.scheduler: {name!r} is not a scheduler of diffusers{meant}")
    if name == own:
        return
    kinds = kind_of(scheduler, config), kind_of(getattr(diffusers, own), config)
    if kinds[0] != kinds[1]:
        words = {"flow": "flow-matching models", "diffusion": "models that predict noise", "other": "other models"}
        raise InputError(
            f"generator.scheduler: {name} is for {words[kinds[0]]}, and this model is one of the {words[kinds[1]]}; "
            f"leave it out for the model's own, {own}"
        )
    for argument in takes:
        method, _, parameter = argument.partition(".")
        if parameter not in inspect.signature(getattr(scheduler, method)).parameters:
            raise InputError(
                f"generator.scheduler: {name}.{method} takes no {parameter}, which this model's pipeline gives it; "
                f"leave it out for the model's own, {own}"
            )


def make_scheduler(name: str | None, own: Any, takes: Sequence[str] = ()) -> Any:
    """A fresh scheduler of diffusers by its class name (None: of the class of ``own``) with the settings of a model's ``own``."""
    name = name or type(own).__name__
    check_scheduler(name, type(own).__name__, own.config, takes)
    with one_sentence(f"generator.scheduler: {name} does not take the model's settings", "choose another scheduler"):
        return getattr(diffusers, name).from_config(own.config)
