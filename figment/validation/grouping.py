"""The grouping softmax: how well an image shows each of several requested classes (Zhang et al. 2024, CLIP validation)."""

import torch
from torch import Tensor


def grouping_softmax(logits: Tensor, requested: Tensor) -> Tensor:
    """Probabilities V (B, C) of CLIP ``logits`` (B, C), given which classes (B, C) bool each image was asked to show.

    A requested class competes with all classes that were not requested, never with another requested one:
    V_p = e^{u_p} / (e^{u_p} + sum_N e^{u_m}). A class that was not requested gets the mean of its probability over these
    groups. So a row sums to 1 + (|T| - 1) mean_p V_p; with one class requested V is the plain softmax. Each row stands
    for itself, halves are computed in float32, and the gradient is finite whatever the logits.

    Raises ValueError if the shapes differ or a row requests nothing.
    """
    others = log_sum_of_others(logits, requested)
    u = logits.to(others.dtype)
    groups = torch.logaddexp(u, others)  # (B, C): log of the denominator of each requested class's group
    count = requested.sum(1, keepdim=True)
    mean_inverse = _masked(-groups, requested).logsumexp(1, keepdim=True) - count.log()
    return torch.where(requested, (u - groups), (u + mean_inverse)).exp()


def presence_probabilities(logits: Tensor, requested: Tensor) -> Tensor:
    """(B, C): what V_c would be, had class c been requested beside what was. For a requested class it is V_c itself.

    So an image tells, without a further look, how it would pass as one of a class that no one asked it to show.
    """
    others = log_sum_of_others(logits, requested)
    u = logits.to(others.dtype)
    return (u - torch.where(requested, torch.logaddexp(u, others), others)).exp()


def log_sum_of_others(logits: Tensor, requested: Tensor) -> Tensor:
    """(B, 1): log sum of e^u over the classes that were not requested, in float32 or better."""
    if logits.shape != requested.shape or logits.dim() != 2 or requested.dtype != torch.bool:
        raise ValueError(
            f"logits {tuple(logits.shape)} and requested {tuple(requested.shape)} {requested.dtype}: "
            "both must be (B, C), the second bool"
        )
    if not bool(requested.any(1).all()):
        raise ValueError("requested: a row asks for no class; each image was asked to show at least one")
    u = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return _masked(u, ~requested).logsumexp(1, keepdim=True)


def _masked(values: Tensor, keep: Tensor) -> Tensor:
    """``values`` where ``keep``, elsewhere so low that its exponential is zero, yet finite, so that gradients are."""
    return values.masked_fill(~keep, torch.finfo(values.dtype).min / 4)
