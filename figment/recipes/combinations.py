"""Which kinds of the stages combine: what cannot is one sentence, before anything starts."""

from typing import TYPE_CHECKING

from figment.adaptation.config import TextualInversion
from figment.datasets.kinds import LabelledData
from figment.errors import InputError
from figment.imports.contract import check_imported
from figment.planning.rounds import check_rounds
from figment.prompts.kinds import rules_of
from figment.training.config import check_selection
from figment.training.stage import FewShotHead, SemanticMatrix, Timm

if TYPE_CHECKING:
    from figment.recipes.config import Custom


def check_combination(recipe: "Custom") -> None:
    """Raise InputError for the first thing that cannot be combined."""
    check_imported(recipe.imported)
    assert recipe.planning  # its own checks
    for wrong, sentence in _refusals(recipe):
        if wrong:
            raise InputError(sentence)
    if isinstance(recipe.training, SemanticMatrix):
        check_selection(recipe.training)
    if recipe.planner.reads_prompts:
        _check_tricks(recipe)
    if isinstance(recipe.data, LabelledData):
        recipe.data.space()
    if recipe.rounds:
        check_rounds(recipe.planning, bool(recipe.quota))


def _check_tricks(recipe: "Custom") -> None:
    """Raise InputError for a trick that is none, is there twice, or has no number of images where numbers are given."""
    rules_of(recipe.prompts, recipe.generator.guidance_scale)
    tricks = [name for kind in recipe.prompts for name in kind.names]
    images = getattr(recipe.planner, "images", None)
    for trick in tricks:
        if tricks.count(trick) > 1:
            raise InputError(f"prompts: {trick!r} comes from two of them; give each once")
        if isinstance(images, dict) and trick not in images:
            known = ", ".join(images)
            raise InputError(
                f"planner.images: no number for {trick!r}, only for {known}; give one, or one number for all"
            )


def _refusals(recipe: "Custom") -> list[tuple[bool, str]]:
    """Combinations that cannot be, each with whether this is one."""
    planner, prompts = recipe.planner, recipe.prompts
    labelled, words = isinstance(recipe.data, LabelledData), isinstance(recipe.adaptation, TextualInversion)
    named = {"planner": planner, "acceptance": recipe.acceptance, "training": recipe.training}
    plan, accept, train = (f"{name}.kind: {stage.kind}" for name, stage in named.items())
    pairs = any(kind.kind == "pairs" for kind in prompts) or planner.kind == "pairs"
    adapt = f"adaptation.kind: {recipe.adaptation.kind}" if recipe.adaptation else ""
    of_photos = recipe.adaptation is not None and recipe.adaptation.from_photos
    learn = {adapt: of_photos, plan: planner.starts_from_photos, accept: not recipe.acceptance.by_clip}
    learn |= {train: recipe.training.from_photos}
    need = next((name for name, needed in learn.items() if needed), "")
    return [
        (
            recipe.training.exclusive and not labelled,
            f"{train} learns one class an image, and images of data.kind: zero_shot have several; take dual_prompt or "
            "semantic_matrix, or data.kind: labelled",
        ),
        (
            not recipe.training.exclusive and labelled,
            f"{train} is trained and measured on images with several classes, and those of data.kind: labelled have one; "
            "take timm, or data.kind: zero_shot",
        ),
        (
            isinstance(recipe.training, FewShotHead) and recipe.training.validate_on == "held_out",
            f"training.validate_on: held_out, and {train} has no photos beyond the shots here; take nothing",
        ),
        (
            pairs and labelled,
            f"prompts of pairs ask for two classes in an image, and {train} learns one; take tricks or contexts",
        ),
        (
            planner.reads_prompts and not prompts,
            f"prompts: {plan} needs some; give kinds of prompts, such as {{kind: tricks, tricks: [base_class]}}",
        ),
        (not planner.reads_prompts and bool(prompts), f"prompts: {plan} has its own; leave prompts out"),
        (
            pairs and planner.starts_from_photos,
            f"prompts of pairs ask for two classes, and {plan} starts from a photo of one; take tricks or contexts",
        ),
        (
            planner.kind == "pairs" and recipe.against == "wanted",
            f"against: {plan} asks for classes beside the wanted ones, which must be checked too; take against: all",
        ),
        (
            pairs and of_photos,
            f"{adapt} gives an image what one class was learned by, such as one learned word, and prompts of pairs name two "
            "classes; take tricks or contexts",
        ),
        (
            pairs and not recipe.acceptance.by_clip,
            f"{accept} judges images of one class each, and prompts of pairs ask for two; take coco, nus or calibrated",
        ),
        (
            recipe.adaptation is not None and not planner.reads_prompts,
            f"adaptation: it needs prompts, and {plan} has none that it could learn from; take planner.kind: prompts",
        ),
        (
            recipe.adaptation is not None and not of_photos and not recipe.acceptance.by_clip,
            f"{adapt} is tuned by CLIP's verdict, which {accept} is not; take top1 or coco",
        ),
        (bool(need) and recipe.photos is None, f"photos: {need} learns from a few of each class; say where they are"),
        (not need and recipe.photos is not None, "photos: no stage uses them; leave them out"),
        (
            recipe.quota is not None and not planner.tops_up,
            f"quota: {plan} cannot plan more of one class than of others; take planner.kind: prompts, or leave it out",
        ),
        (
            recipe.quota is not None and not recipe.acceptance.by_clip,
            f"quota: {accept} judges once all images are made; take an acceptance by CLIP, or leave it out",
        ),
        (
            recipe.rounds is not None and not isinstance(recipe.training, Timm),
            f"rounds: {train} is trained once; take training.kind: timm, or leave rounds out",
        ),
        (
            recipe.rounds is not None and recipe.acceptance.kind in ("filter", "calibrated"),
            f"rounds: {accept} judges once all images are made; take top1, or leave rounds out",
        ),
        (
            isinstance(recipe.training, FewShotHead)
            and isinstance(recipe.data, LabelledData)
            and recipe.data.real.helps,
            f"data.real: {train} learns from photos and generated images alone; take training.kind: timm, or leave unlabelled "
            "and shots out",
        ),
        (
            bool(recipe.negative_prompt) and planner.kind != "prompts",
            f"negative_prompt: {plan} takes none; leave it out",
        ),
        (
            bool(getattr(planner, "noise", ())) and not words,
            "planner.noise is added to learned words; take adaptation.kind: textual_inversion, or leave it out",
        ),
    ]
