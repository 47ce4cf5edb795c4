"""Which device, when the config says ``auto``."""

import torch


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` is cuda, else mps, else cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
