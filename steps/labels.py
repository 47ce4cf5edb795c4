"""Which classes; and whether, at the end of a long run, there will be what it takes to train and measure."""

import sys
from pathlib import Path
from typing import Annotated

from figment.clip.scorer import ClipConfig, load_clip
from figment.datasets.config import RealConfig
from figment.datasets.real import check_data
from figment.labels import LabelSpace
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import check_generator, unknown_names
from figment.training.classifier import check_classifier
from figment.training.config import TrainingConfig
from figment.validation.review import read_review


@step
def choose_labels(
    classes: list[str],
    labels: str | None,
    generator: GeneratorConfig,
    clip: ClipConfig,
    training: TrainingConfig,
    real: RealConfig,
    review: str | None = None,
) -> Annotated[LabelSpace, "label_space"]:
    """The chosen part of the label space. Fails here, before anything is rendered, if a class cannot be measured or a
    later step's model is not there."""
    space = LabelSpace.chosen(classes, labels)
    check_data(real, space)
    if review:
        read_review(Path(review))
    check_generator(generator, [label.prompt_name for label in space.labels])
    load_clip(clip, [label.clip_name for label in space.labels])
    check_classifier(training, len(space))
    model = generator.model
    for name, near in unknown_names(model, [label.prompt_name for label in space.labels]).items():
        print(
            f"warning: {model} never saw {name!r}; the nearest it knows: {', '.join(near) or 'none'}", file=sys.stderr
        )
    return space
