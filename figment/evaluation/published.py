"""What the paper's published code measures: it never calls ``eval()``, so batch statistics come from the test pictures."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from figment.training.augment import normalise


@torch.no_grad()
def predict_as_published(model: nn.Module, pixels: Tensor, batch_size: int = 64, seed: int = 0) -> Tensor:
    """Logits (N, C) on the CPU for pictures (N, 3, S, S) uint8, in train mode: batch normalisation sees the whole batch,
    dropout and stochastic depth stay on. To compare with the paper's tables, never as a result; ``model`` stays as it is.
    """
    device = next(model.parameters()).device
    loose = deepcopy(model).train()
    batches = max(1, len(pixels) // batch_size)  # no batch is smaller: one picture has no statistics
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.cat([loose(normalise(part.to(device))).float().cpu() for part in pixels.tensor_split(batches)])
