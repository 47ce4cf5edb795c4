"""Shuffled batches for training: every batch full, every image at least once an epoch."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from figment.datasets.labelled import Images, LabelledImages, StreamedImages
from figment.training.processes import WHOLE, Share

MIXED = 16  # chunks among which a streamed set is shuffled


def full_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers (B,) of one epoch over ``count`` images; the last batch is filled up from the epoch's beginning."""
    order = torch.randperm(count, generator=generator)
    batches = -(-count // batch_size)
    yield from order.repeat(-(-batches * batch_size // count))[: batches * batch_size].split(batch_size)


class Resident:
    """A set in memory, on the device if half of what is free there holds it."""

    def __init__(self, images: LabelledImages, device: torch.device):
        self.device, self.pixels, self.labels = device, images.pixels, images.labels
        if device.type == "cuda" and images.pixels.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            self.pixels, self.labels = self.pixels.to(device), self.labels.to(device)

    def batches(
        self, batch_size: int, generator: torch.Generator, share: Share = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of pixels (B, 3, S, S) uint8 and labels (B,) on the device, or of a process's share of each batch."""
        for rows in full_batches(len(self.labels), batch_size, generator):
            rows = share.of(rows).to(self.pixels.device)
            yield self.pixels[rows].to(self.device), self.labels[rows].to(self.device)


class Streamed:
    """A set that memory does not hold: chunks in random order, decoded ahead on worker processes, images shuffled among
    ``mixed`` chunks at a time."""

    def __init__(self, images: StreamedImages, device: torch.device, mixed: int = MIXED):
        self.images, self.device, self.mixed = images, device, mixed

    def batches(
        self, batch_size: int, generator: torch.Generator, share: Share = WHOLE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of pixels (B, 3, S, S) uint8 and labels (B,) on the device, or of a process's share of each batch: then
        only its own images are decoded."""
        seed = int(torch.randint(2**62, (), generator=generator))
        shuffling, only = torch.Generator().manual_seed(seed), None
        if share.count > 1:
            rehearsal = torch.Generator().manual_seed(seed)
            numbers = ((rows, LabelledImages(rows, rows)) for rows in self.images.rows(rehearsal))
            only = torch.zeros(len(self.images), dtype=torch.bool)
            for rows, _ in self._mixed(numbers, batch_size, rehearsal):
                only[share.of(rows)] = True
        for pixels, labels in self._mixed(self.images.parts(shuffling, only), batch_size, shuffling):
            yield share.of(pixels).to(self.device), share.of(labels).to(self.device)

    def _mixed(
        self, parts: Iterable[tuple[Tensor, LabelledImages]], batch_size: int, shuffling: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        first: LabelledImages | None = None
        buffer: list[LabelledImages] = []
        for _, part in parts:
            buffer.append(part)
            if len(buffer) > self.mixed:
                pool = shuffled(buffer, shuffling)
                first = first or pool.subset(torch.arange(min(batch_size, len(pool))))
                whole = len(pool) // batch_size * batch_size
                yield from self._split(pool.subset(torch.arange(whole)), batch_size)
                buffer = [pool.subset(torch.arange(whole, len(pool)))]
        pool = shuffled(buffer, shuffling)
        first = first or pool
        filling = first.subset(torch.arange(-len(pool) % batch_size) % len(first))
        yield from self._split(joined([pool, filling]), batch_size)

    def _split(self, images: LabelledImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if len(images):
            yield from zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True)


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    return LabelledImages(torch.cat([p.pixels for p in parts]), torch.cat([p.labels for p in parts]))


def shuffled(parts: Sequence[LabelledImages], generator: torch.Generator) -> LabelledImages:
    images = joined(parts)
    return images.subset(torch.randperm(len(images), generator=generator))


def batches_of(images: Images, device: torch.device) -> Resident | Streamed:
    return Resident(images, device) if isinstance(images, LabelledImages) else Streamed(images, device)
