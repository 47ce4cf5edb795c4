"""Shuffled batches for training: every batch full, every picture at least once an epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from figment.datasets.labelled import LabelledImages


def full_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers (B,) of one epoch over ``count`` pictures; the last batch is filled up from the epoch's beginning."""
    order = torch.randperm(count, generator=generator)
    batches = -(-count // batch_size)
    yield from order.repeat(-(-batches * batch_size // count))[: batches * batch_size].split(batch_size)


class Resident:
    """A set in memory, on the device if half of what is free there holds it."""

    def __init__(self, images: LabelledImages, device: torch.device):
        self.device, self.pixels, self.labels = device, images.pixels, images.labels
        if device.type == "cuda":
            if images.pixels.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
                self.pixels, self.labels = self.pixels.to(device), self.labels.to(device)
            else:
                self.pixels = self.pixels.pin_memory()

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of pixels (B, 3, S, S) uint8 and labels (B,) on the device."""
        for rows in full_batches(len(self.labels), batch_size, generator):
            rows = rows.to(self.pixels.device)
            yield (
                self.pixels[rows].to(self.device, non_blocking=True),
                self.labels[rows.to(self.labels.device)].to(self.device),
            )
