"""The state of a training between two rounds, whole or absent on disk."""

import pickle
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from figment.errors import InputError
from figment.files import atomic
from figment.text import reason_of

CHECKPOINT = "checkpoint.pt"  # in the folder of a result, of no use once that is saved
History = list[tuple[int, dict[str, float]]]
UNREADABLE = (
    OSError, RuntimeError, ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError, struct.error
)  # fmt: skip


@dataclass
class State:
    """What a training needs to resume as if it had never stopped. Random numbers are not in it, unless a generator is one of
    the ``parts``: every round draws its own from the seed and its number."""

    done: int = 0  # epochs or steps, as the trainer counts
    parts: dict[str, Any] = field(default_factory=dict)  # weights, moving average, optimizer, ...: a state dict each
    best: dict[str, Any] = field(default_factory=dict)  # weights; {} where the last are kept
    best_score: float = float("-inf")
    kept: int = 0  # the number of the row in ``history`` whose weights are kept
    history: History = field(default_factory=list)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)  # by measure: best score, its row's number, weights


@dataclass(frozen=True)
class Checkpoint:
    """A file, and what ``figment.keys.checkpoint_key`` gives for its training: a state with another key is not resumed.
    It is saved after a round if ``every_seconds`` have passed, and at the end."""

    path: Path
    key: str
    every_seconds: float = 60.0

    def save(self, state: State) -> None:
        with atomic(self.path) as partial:
            torch.save({"key": self.key, "state": vars(state)}, partial)

    def load(self) -> State | None:
        """The saved state, or None if there is none of this training. Raises InputError for a file that is none."""
        if not self.path.is_file():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            return State(**saved["state"]) if saved["key"] == self.key else None
        except UNREADABLE as error:
            raise InputError(
                f"{self.path}: not a checkpoint ({reason_of(error)}); move it away to start again"
            ) from error
