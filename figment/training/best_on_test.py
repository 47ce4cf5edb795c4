"""Beside the model that validation chose, those of the epochs that are best on the test images, as papers report them.

An epoch that was chosen by the images on which it is measured has measures that are too high; each such model says so.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from figment.training.saved import Kind, Measure, SavedModel, save_model

BEST_ON_TEST = "best_on_test"


class WithOthers(Protocol):
    """What a training ends with. ``others``: by measure the number of its best epoch, and the weights of ``model`` after it."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def history(self) -> Sequence[Mapping[str, float]]: ...

    @property
    def others(self) -> Mapping[str, Mapping[str, Any]]: ...


def save_best_on_test(
    trained: WithOthers, kind: Kind[Any], network: nn.Module, settings: Any, saved: SavedModel, folder: Path
) -> dict[str, int]:
    """Save ``network``, of which ``trained.model`` is all or a part, as it was after each of these epochs, below ``folder``. It
    ends as it was. Returns the epochs."""
    state = trained.model.state_dict()
    for name, found in trained.others.items():
        own = {part: state[part].clone() for part in found["weights"]}
        trained.model.load_state_dict(found["weights"], strict=False)
        row = trained.history[found["kept"] - 1]
        measured = {n: v for n, v in sorted(row.items()) if n.startswith(("zsl/", "gzsl/")) and math.isfinite(v)}
        text = f"{saved.training} This is epoch {found['kept']}, the best by {name} on the test images: measures are too high."
        metrics = tuple(Measure(name=n, value=v) for n, v in measured.items())
        other = saved.model_copy(update={"training": text, "metrics": metrics})
        save_model(kind, network, settings, other, folder / BEST_ON_TEST / name.replace("/", "_"))
        trained.model.load_state_dict(own, strict=False)
    return {name: found["kept"] for name, found in trained.others.items()}
