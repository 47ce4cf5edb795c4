"""The state of a training between two epochs, whole or absent on disk."""

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from figment.errors import InputError
from figment.files import atomic
from figment.text import reason_of

History = list[tuple[int, dict[str, float]]]


@dataclass
class State:
    """What a training needs to go on as if it had never stopped. Random numbers are not in it: every epoch draws its own
    from the seed and its number."""

    epoch: int = 0  # epochs done
    model: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)  # of the weights; {} without ema_decay
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)  # weights; {} unless keep is best
    best_score: float = -1.0
    history: History = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A file, and what ``figment.keys.checkpoint_key`` gives for its training: a state with another key is not resumed."""

    path: Path
    key: str
    every_seconds: float = 60.0

    def save(self, state: State) -> None:
        with atomic(self.path) as partial:
            torch.save({"key": self.key, "state": asdict(state)}, partial)

    def load(self) -> State | None:
        """The saved state, or None if there is none of this training. Raises InputError for a file that is none."""
        if not self.path.is_file():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            return State(**saved["state"]) if saved["key"] == self.key else None
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}: not a checkpoint ({reason_of(error)}); move it away to start anew"
            ) from error
