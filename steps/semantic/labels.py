"""Which classes, seen and unseen; and whether there will be what it takes to the end of a long run."""

from typing import Annotated

import torch

from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import make_label_vectors
from figment.clip.scorer import ClipConfig, load_clip
from figment.datasets.zero_shot import ZeroShotConfig, zero_shot_space
from figment.labels import LabelSpace
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import check_generator
from figment.training.config import SemanticConfig
from figment.training.semantic import build_semantic_matrix
from figment.training.start import start_from


@step
def choose_tags(
    data: ZeroShotConfig,
    vectors: LabelVectorConfig,
    training: SemanticConfig,
    generator: GeneratorConfig | None = None,
    clip: ClipConfig | None = None,
) -> Annotated[LabelSpace, "label_space"]:
    """The label space of the data, each class with a vector. Fails here, before anything is drawn or rendered, if a class
    has none, or the backbone, or the ``generator`` and the ``clip`` of a run that makes images, are not there."""
    space = zero_shot_space(data)
    found = make_label_vectors(space, vectors)
    with torch.random.fork_rng():
        matrix = build_semantic_matrix(training, found.dim)
    if training.weights:
        start_from(matrix.backbone, training.weights)
    if generator and clip:
        check_generator(generator, [label.prompt_name for label in space.labels])
        load_clip(clip, [label.clip_name for label in space.labels])
    return space
