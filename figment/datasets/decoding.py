"""Chunks decoded ahead on worker processes, in order; errors come back as they were raised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from figment.datasets.listing import Chunk
from figment.devices import cores
from figment.errors import InputError
from figment.images import Resize, decode, to_tensor

FEW = 2048  # images that are decoded before a worker has started
AHEAD = 4  # chunks a worker keeps ready


@dataclass(frozen=True)
class Job:
    """Some rows of a chunk."""

    chunk: Chunk
    rows: Sequence[int]


class _Jobs(Dataset):
    def __init__(self, jobs: Sequence[Job], size: int, resize: Resize, native_size: int | None):
        self.jobs, self.size, self.resize, self.native_size = jobs, size, resize, native_size

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, number: int) -> Tensor | Exception:
        job = self.jobs[number]
        images = torch.empty(len(job.rows), 3, self.size, self.size, dtype=torch.uint8)
        try:
            for row, (where, data) in enumerate(job.chunk.read(job.rows)):
                image = decode(data, where) if isinstance(data, bytes) else data
                images[row] = to_tensor(image, self.size, self.resize, self.native_size)
        except PermissionError as error:
            return InputError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions")
        except (InputError, OSError) as error:
            return error
        return images


def decode_ahead(
    jobs: Sequence[Job], size: int, resize: Resize, workers: int | None = None, native_size: int | None = None
) -> Iterator[Tensor]:
    """Each job's images (n, 3, size, size) uint8, in the order of ``jobs``, decoded on ``workers`` processes while the
    caller works (default: one a core; none for a few small images)."""
    if workers is None:
        few = sum(len(job.rows) for job in jobs) <= FEW
        workers = 0 if few or len(jobs) < 2 else min(cores(), len(jobs))
    loader = DataLoader(
        _Jobs(jobs, size, resize, native_size),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        generator=torch.Generator(),  # or it would draw its seed from the global one
    )
    for outcome in loader:
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome
