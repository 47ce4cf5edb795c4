"""Which classes, seen and unseen; and whether there will be what it takes to the end of a long run."""

import sys
from pathlib import Path
from typing import Annotated

from figment.clip.scorer import ClipConfig, load_clip
from figment.datasets.zero_shot import ZeroShotConfig, zero_shot_space
from figment.labels import LabelSpace
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.prompts.chat import ANSWERS
from figment.prompts.pair_book import PairPromptConfig, check_pair_prompts
from figment.synthesis.weights import check_generator, unknown_names
from figment.training.dual_prompt import DualPromptConfig, build_dual_prompts


@step
def choose_classes(
    data: ZeroShotConfig,
    generator: GeneratorConfig,
    clip: ClipConfig,
    backbone: ClipConfig,
    classifier: DualPromptConfig,
    prompts: PairPromptConfig,
    output: str,
) -> tuple[Annotated[LabelSpace, "label_space"], Annotated[LabelSpace, "unseen_labels"]]:
    """All classes of the data, and the unseen ones by themselves, which images are made for. Fails here, before anything is
    asked or rendered, if a later step's model is not there or does not fit."""
    space = zero_shot_space(data)
    check_generator(generator, [label.prompt_name for label in space.labels])
    load_clip(clip, [label.clip_name for label in space.labels])
    unseen = space.choose([space.names[i] for i in space.unseen_ids])
    check_pair_prompts(unseen, prompts, Path(output) / ANSWERS)
    build_dual_prompts(classifier, backbone, space)
    model = generator.model
    for name, near in unknown_names(model, [label.prompt_name for label in unseen.labels]).items():
        print(
            f"warning: {model} never saw {name!r}; the nearest it knows: {', '.join(near) or 'none'}", file=sys.stderr
        )
    return space, unseen
