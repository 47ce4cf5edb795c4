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
    kinds = _Kinds(recipe)
    for wrong, sentence in [*kinds.of_classes(), *kinds.of_prompts(), *kinds.of_learning(), *kinds.of_the_rest()]:
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


class _Kinds:
    """The kinds of a recipe's stages, as sentences name them; and what cannot be combined, each with whether it is the case."""

    def __init__(self, recipe: "Custom"):
        self.recipe, self.planner, self.prompts = recipe, recipe.planner, recipe.prompts
        self.plan = f"planner.kind: {recipe.planner.kind}"
        self.accept = f"acceptance.kind: {recipe.acceptance.kind}"
        self.train = f"training.kind: {recipe.training.kind}"
        self.adapt = f"adaptation.kind: {recipe.adaptation.kind}" if recipe.adaptation else ""
        self.labelled = isinstance(recipe.data, LabelledData)
        self.pairs = any(kind.kind == "pairs" for kind in recipe.prompts) or recipe.planner.kind == "pairs"
        self.of_photos = recipe.adaptation is not None and recipe.adaptation.from_photos

    def of_classes(self) -> list[tuple[bool, str]]:
        """How many classes an image has."""
        training, train = self.recipe.training, self.train
        return [
            (
                training.exclusive and not self.labelled,
                f"{train} learns one class an image, and images of data.kind: zero_shot have several; take dual_prompt or "
                "semantic_matrix, or data.kind: labelled",
            ),
            (
                not training.exclusive and self.labelled,
                f"{train} is trained and measured on images with several classes, and those of data.kind: labelled have one; "
                "take timm, or data.kind: zero_shot",
            ),
            (
                isinstance(training, FewShotHead) and training.validate_on == "held_out",
                f"training.validate_on: held_out, and {train} has no photos beyond the shots here; take nothing",
            ),
            (
                self.pairs and self.labelled,
                f"prompts of pairs ask for two classes in an image, and {train} learns one; take tricks or contexts",
            ),
        ]

    def of_prompts(self) -> list[tuple[bool, str]]:
        """Prompts that a planner, an adaptation or an acceptance needs, or cannot take."""
        planner, plan, pairs = self.planner, self.plan, self.pairs
        return [
            (
                planner.reads_prompts and not self.prompts,
                f"prompts: {plan} needs some; give kinds of prompts, such as {{kind: tricks, tricks: [base_class]}}",
            ),
            (not planner.reads_prompts and bool(self.prompts), f"prompts: {plan} has its own; leave prompts out"),
            (
                pairs and planner.starts_from_photos,
                f"prompts of pairs ask for two classes, and {plan} starts from a photo of one; take tricks or contexts",
            ),
            (
                planner.kind == "pairs" and self.recipe.against == "wanted",
                f"against: {plan} asks for classes beside the wanted ones, which must be checked too; take against: all",
            ),
            (
                pairs and self.of_photos,
                f"{self.adapt} gives an image what one class was learned by, such as one learned word, and prompts of pairs "
                "name two classes; take tricks or contexts",
            ),
            (
                pairs and not self.recipe.acceptance.by_clip,
                f"{self.accept} judges images of one class each, and prompts of pairs ask for two; take coco, nus or calibrated",
            ),
        ]

    def of_learning(self) -> list[tuple[bool, str]]:
        """What an adaptation, and what learns from a few photos, needs."""
        recipe, by_clip = self.recipe, self.recipe.acceptance.by_clip
        learn = {self.adapt: self.of_photos, self.plan: self.planner.starts_from_photos, self.accept: not by_clip}
        learn |= {self.train: recipe.training.from_photos}
        need = next((name for name, needed in learn.items() if needed), "")
        adapted = recipe.adaptation is not None
        return [
            (
                adapted and not self.planner.reads_prompts,
                f"adaptation: it needs prompts, and {self.plan} has none that it could learn from; take planner.kind: prompts",
            ),
            (
                adapted and not self.of_photos and not by_clip,
                f"{self.adapt} is tuned by CLIP's verdict, which {self.accept} is not; take top1 or coco",
            ),
            (
                bool(need) and recipe.photos is None,
                f"photos: {need} learns from a few of each class; say where they are",
            ),
            (not need and recipe.photos is not None, "photos: no stage uses them; leave them out"),
        ]

    def of_the_rest(self) -> list[tuple[bool, str]]:
        """Fields that a stage does not take."""
        recipe, planner = self.recipe, self.planner
        return [
            (
                recipe.quota is not None and not planner.tops_up,
                f"quota: {self.plan} cannot plan more of one class than of others; take planner.kind: prompts, or leave it out",
            ),
            (
                recipe.quota is not None and not recipe.acceptance.by_clip,
                f"quota: {self.accept} judges once all images are made; take an acceptance by CLIP, or leave it out",
            ),
            (
                recipe.rounds is not None and not isinstance(recipe.training, Timm),
                f"rounds: {self.train} is trained once; take training.kind: timm, or leave rounds out",
            ),
            (
                recipe.rounds is not None and recipe.acceptance.kind in ("filter", "calibrated"),
                f"rounds: {self.accept} judges once all images are made; take top1, or leave rounds out",
            ),
            (
                isinstance(recipe.training, FewShotHead)
                and isinstance(recipe.data, LabelledData)
                and recipe.data.real.helps,
                f"data.real: {self.train} learns from photos and generated images alone; take training.kind: timm, or leave "
                "unlabelled and shots out",
            ),
            (
                bool(recipe.negative_prompt) and planner.kind != "prompts",
                f"negative_prompt: {self.plan} takes none; leave it out",
            ),
            (
                bool(getattr(planner, "noise", ())) and not isinstance(recipe.adaptation, TextualInversion),
                "planner.noise is added to learned words; take adaptation.kind: textual_inversion, or leave it out",
            ),
        ]
