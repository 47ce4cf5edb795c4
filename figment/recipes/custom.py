"""The report of a custom run: that of its classifier's paper, with what was combined and what the other stages found."""

from dataclasses import replace
from typing import Any

from figment.adaptation.text_encoder import Tuned
from figment.evaluation.report import Report, Section, Table
from figment.recipes import bag_of_tricks, semantic_diversity, tailored
from figment.recipes.few_shot import learned_sections
from figment.recipes.made import Made
from figment.recipes.tailored import tuning_section

OF_CLASSIFIER = {
    "timm": bag_of_tricks,
    "few_shot_head": bag_of_tricks,
    "dual_prompt": tailored,
    "semantic_matrix": semantic_diversity,
}


def report(recipe: Any, made: Made) -> Report:
    """From what the classifier's own report is made of, and the filter, learned words, LoRAs or tuned text encoder, where there
    are some."""
    paper = OF_CLASSIFIER[recipe.trainer.kind]
    own = paper.report(recipe, made)
    more = [Section("What was combined", [Table((), list(combined(recipe).items()), kind="words")])]
    more += learned_sections(recipe, made)
    if made.file("tuning") and paper is not tailored:
        more.append(tuning_section(made.read("tuning", Tuned)))
    first, *others = own.sections
    return replace(own, title="Figment: a combination", sections=[first, *more, *others])


def combined(recipe: Any) -> dict[str, str]:
    """What each stage is, in words."""
    return {
        "data": recipe.data.kind,
        "prompts": ", ".join(kind.kind for kind in recipe.prompts) or "the planner's own",
        "adaptation": recipe.adaptation.kind if recipe.adaptation else "none",
        "plan": recipe.planner.kind,
        "acceptance": f"{recipe.acceptance.kind}: {recipe.acceptance.rule}",
        "training": recipe.training.kind,
    }
