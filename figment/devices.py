"""Which device, when the config says ``auto``."""

import os
from pathlib import Path

import torch

from figment.errors import InputError
from figment.text import reason_of


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is cuda, else mps, else cpu. Raises InputError for a device that is not here."""
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"device: {name!r} cannot be used ({reason_of(error)}); give auto, cpu, cuda or mps"
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def free_memory() -> int:
    """Bytes of main memory that may still be used: what the machine has free, or what its container is still allowed."""
    described = Path("/proc/meminfo")
    if described.is_file():
        free = 1024 * int(next(line for line in described.open() if line.startswith("MemAvailable")).split()[1])
    else:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # macOS does not tell: half of all
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (allowed := limit.read_text().strip()).isdigit():
        free = min(free, int(allowed) - int(used.read_text()))
    return max(free, 0)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
