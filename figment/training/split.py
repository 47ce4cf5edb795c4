"""A held-out share of the training images, to choose by: the real test images are for the end."""

import torch
from torch import Tensor

from figment.errors import InputError


def hold_out(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers (sorted) to train on and to hold out, out of ``labels`` (N,): of every class its ``share``, rounded,
    at least one image. Drawn from ``seed``. Raises InputError if a class has a single image."""
    generator = torch.Generator().manual_seed(seed)
    train, held = [], []
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero().flatten()
        if len(rows) < 2:
            raise InputError(f"training.holdout: class {label} has one image; give it two or more, or set holdout to 0")
        rows = rows[torch.randperm(len(rows), generator=generator)]
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        held.append(rows[:count])
        train.append(rows[count:])
    return torch.cat(train).sort().values, torch.cat(held).sort().values
