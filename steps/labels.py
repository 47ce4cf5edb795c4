"""Which classes; and whether there will be what it takes to the end of a long run."""

import sys
from pathlib import Path
from typing import Annotated

from figment.clip.scorer import load_clip
from figment.datasets.kinds import FewShotData, ZeroShotData
from figment.datasets.photos import draw_photos
from figment.labels import LabelSpace
from figment.ops.steps import step
from figment.prompts.chat import ANSWERS, check_chat
from figment.recipes.config import AnyRecipe
from figment.synthesis.families import Requests
from figment.synthesis.weights import check_family, check_generator, warnings_of_unknown
from figment.training.acceptance import FilterPolicy
from figment.training.backbone import load_backbone
from figment.training.round_stages import open_validation
from figment.validation.review import read_review


@step
def choose_labels(
    recipe: AnyRecipe,
) -> tuple[Annotated[LabelSpace, "label_space"], Annotated[LabelSpace, "wanted_labels"]]:
    """All classes, and those that images are made for. Fails here, before anything is asked or rendered, if a later stage's model
    or data are not there, or do not fit."""
    space = recipe.dataset.space()
    asked = recipe.dataset.wanted(space)
    if recipe.planning or not isinstance(recipe.dataset, ZeroShotData):
        load_clip(recipe.clip, [label.clip_name for label in space.labels])
    if planning := recipe.planning:
        requests = Requests(planning.scales, planning.negative_prompt, planning.strengths, masks=planning.masks)
        check_family(planning.generator, requests)
        beside = planning.planner.kind == "pairs"  # its images also show classes that none were asked for
        painted = space if beside else asked
        names = [label.prompt_name for label in painted.labels]
        check_generator(planning.generator, [] if isinstance(recipe.dataset, FewShotData) else names)
        for kind in planning.prompts:
            kind.check(asked, Path(recipe.output) / ANSWERS)
        if isinstance(recipe.acceptance, FilterPolicy):
            load_backbone(recipe.acceptance.backbone)
        if not isinstance(recipe.dataset, FewShotData):
            for warning in warnings_of_unknown(planning.generator.model, painted):
                print(warning, file=sys.stderr)
    if review := recipe.review_file:
        read_review(review)
    recipe.dataset.check(space)
    if rounds := getattr(recipe, "rounds", None):
        open_validation(space, recipe.dataset.real, size=32)
        if rounds.prompts_per_class:
            check_chat(rounds.chat, Path(recipe.output) / ANSWERS)
    if recipe.photos_config:
        draw_photos(recipe.photos_config, asked)
    recipe.trainer.check(space)
    return space, asked
