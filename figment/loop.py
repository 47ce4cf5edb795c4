"""The loop of every training: rounds of steps, what is measured after them, the best weights, and a checkpoint to resume from.

A process that is stopped, by whatever signal and wherever, loses what it did since the last checkpoint and nothing else: that
file is replaced whole, between two rounds. The next call ends with the same weights, bit for bit on a CPU.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from figment.checkpoint import Checkpoint, State
from figment.errors import InputError
from figment.progress import Progress

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

Row = tuple[int, dict[str, float]]  # the number of a step or epoch, and what was measured after it
Log = Callable[[int, dict[str, float]], None]


class Stateful(Protocol):
    """A module, an optimizer, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


@dataclass(frozen=True)
class Part:
    """Something else with a state."""

    state_dict: Callable[[], dict[str, Any]]
    load_state_dict: Callable[[dict[str, Any]], Any]


def draws(generator: torch.Generator) -> Part:
    """The state of a generator from which one round after the other draws."""
    return Part(lambda: {"state": generator.get_state()}, lambda saved: generator.set_state(saved["state"]))


class Trainer(ABC):
    """What is particular to a training; ``fit`` does the rest.

    ``count`` epochs or steps are to be done, ``round_size`` of them in a round, ``steps`` updates in all. ``chosen_by`` names the
    measure at whose highest value the weights are kept; without it the last are. Those that are best by each measure of
    ``also_best`` are in the state's ``others``. ``ema`` is the moving average of ``model``, if
    there is one. What a round draws at random follows from the seed and its number alone, or from a generator among the parts."""

    name = "training"
    rate = "the learning rate"  # how its setting is called
    round_size = 1
    unit = "epoch"
    chosen_by: str | None = None
    also_best: tuple[str, ...] = ()
    leads = True  # of several processes, the one that saves

    count: int
    steps: int
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: "ModelEmaV3 | None" = None

    @property
    def measured(self) -> Any:
        """What is measured and kept: the moving average of the model, if there is one."""
        return self.ema.module if self.ema else self.model

    def parts(self) -> dict[str, Stateful]:
        """By name all that a round changes."""
        found: dict[str, Stateful] = {"model": self.model, "optimizer": self.optimizer}
        return found | ({"ema": self.ema.module} if self.ema else {})

    def weights(self) -> dict[str, Tensor]:
        """Copies of what is kept."""
        return copies(self.measured.state_dict())

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put back what ``weights`` gave."""
        self.measured.load_state_dict(weights)

    @abstractmethod
    def round(self, first: int, last: int) -> Iterator[Row | None]:
        """Do what comes after ``first``, up to ``last``: None after each update, a row whenever something is measured."""


def fit(trainer: Trainer, checkpoint: Checkpoint | None = None, log: Log = lambda number, row: None) -> State:
    """Train to the end, from ``checkpoint`` if it holds a state of this training: ``log`` then sees the earlier rows again. The
    trainer ends with the weights that are kept. Raises InputError if the loss stops being a number."""
    state = checkpoint.load() if checkpoint else None
    if state is None:
        state = State()
    else:
        for name, part in trainer.parts().items():
            part.load_state_dict(state.parts[name])
        for number, row in state.history:
            log(number, row)
    saved_at = time.monotonic()
    started = trainer.steps * state.done // trainer.count
    with Progress(trainer.steps, trainer.name, "step", started, shown=trainer.leads) as bar:
        while state.done < trainer.count:
            last = min(state.done + trainer.round_size, trainer.count)
            for found in trainer.round(state.done, last):
                if found is None:
                    bar.update()
                else:
                    _note(trainer, state, *found)
                    log(*found)
            state.done = last
            due = last == trainer.count or (checkpoint and time.monotonic() - saved_at >= checkpoint.every_seconds)
            if checkpoint and trainer.leads and due:
                state.parts = {name: part.state_dict() for name, part in trainer.parts().items()}
                checkpoint.save(state)
                saved_at = time.monotonic()
    if state.best:
        trainer.load(state.best)
    return state


def _note(trainer: Trainer, state: State, number: int, row: dict[str, float]) -> None:
    loss = row.get("loss", 0.0)
    if not math.isfinite(loss):
        raise InputError(f"{trainer.name}: the loss is {loss} after {trainer.unit} {number}; lower {trainer.rate}")
    chosen_by = row.get(trainer.chosen_by or "", float("-inf"))
    if math.isnan(chosen_by):
        raise InputError(
            f"{trainer.name}: {trainer.chosen_by} is not a number; are there images to choose the weights by?"
        )
    state.history.append((number, row))
    for name in trainer.also_best:  # nan, of no image with a label, is never more
        if row.get(name, float("-inf")) > state.others.get(name, {"score": float("-inf")})["score"]:
            state.others[name] = {"score": row[name], "kept": number, "weights": trainer.weights()}
    if trainer.chosen_by is None:
        state.kept = number
    elif chosen_by > state.best_score:
        state.best_score, state.kept, state.best = chosen_by, number, trainer.weights()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's global generators, which dropout and initialisation use, seeded here and put back after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}
