"""Which classes, and whether the real pictures can measure them."""

import sys
from pathlib import Path
from typing import Annotated

from zenml import step

from figment.datasets.config import RealConfig
from figment.datasets.labelled import read_labelled
from figment.labels import LabelSpace
from figment.synthesis.generator import unknown_names


@step
def choose_labels(
    classes: list[str], labels: str, model: str, real: RealConfig
) -> Annotated[LabelSpace, "label_space"]:
    """The chosen part of the label space. Fails early, before anything is rendered, if a class cannot be measured."""
    space = LabelSpace.load(Path(labels)).choose(classes)
    for split in ("train", "test"):
        read_labelled(Path(real.path), split, space, size=32, per_class=1)
    for name, near in unknown_names(model, [label.prompt_name for label in space.labels]).items():
        print(
            f"warning: {model} never saw {name!r}; the nearest it knows: {', '.join(near) or 'none'}", file=sys.stderr
        )
    return space
