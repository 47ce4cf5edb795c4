"""What a training leaves beside its weights in ``history.json``: its loss curve, or the measures of its epochs."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from figment.reading import read_artifact

HISTORY = "history.json"
Measures = dict[str, float]
Curve = list[tuple[int, Measures]]  # (step, what was measured then)


class Epochs(BaseModel):
    """The measures of every epoch, and the number of the ``kept`` one, from 1. ``gains``: of its mean average precision over that
    of the baseline, by protocol, the value and its paired 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: int
    epochs: list[Measures]
    gains: dict[str, tuple[float, float, float]] = {}

    @model_validator(mode="after")
    def _kept_is_one_of_them(self) -> Self:
        if not 1 <= self.kept <= len(self.epochs):
            raise ValueError(f"kept is {self.kept}, of {len(self.epochs)} epochs")
        return self


class ComparedEpochs(Epochs):
    """Also the kept epoch's measures on the ``test`` images, those of ``clip`` as it is, and the number of generated images
    in the training set."""

    made: int
    test: Measures
    clip: Measures


AnyHistory: Any = Curve | ComparedEpochs | Epochs


def read_history(folder: Path) -> Curve:
    """What was measured in the training of the model in ``folder``, by step or by epoch. Raises InputError as ``read_curve``."""
    found = read_artifact(folder / HISTORY, AnyHistory)
    return found if isinstance(found, list) else list(enumerate(found.epochs, 1))


def read_curve(folder: Path) -> Curve:
    """The loss curve of the classifier in ``folder``. Raises InputError if its file is not as Figment wrote it."""
    return read_artifact(folder / HISTORY, Curve)
