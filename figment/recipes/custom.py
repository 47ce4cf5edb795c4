"""The report of a custom run: that of its classifier's paper, with what was combined and what the other stages found."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from figment.adaptation.text_encoder import Tuned
from figment.adaptation.textual_inversion import WordsFile
from figment.evaluation.report import Report, Section, Table
from figment.reading import read_artifact
from figment.recipes.bag_of_tricks import BagOfTricks
from figment.recipes.few_shot import filter_section, probed_section
from figment.recipes.made import Made
from figment.recipes.semantic_diversity import SemanticDiversity
from figment.recipes.stages import DualPrompt, Stages, Timm, base_of
from figment.recipes.tailored import Tailored, tuning_section
from figment.synthesis.config import SynthesisConfig
from figment.training.config import TrainingConfig
from figment.types import Settings


class Custom(Settings):
    """``chosen``: what each stage is, in words."""

    kind: Literal["custom"] = "custom"
    classifier: Annotated[BagOfTricks | SemanticDiversity | Tailored, Field(discriminator="kind")]
    chosen: dict[str, str]

    def report(self, made: Made) -> Report:
        """From what the classifier's own report is made of, and the filter, learned words or tuned text encoder, where there are
        some."""
        own = self.classifier.report(made)
        more = [Section("What was combined", [Table((), list(self.chosen.items()), kind="words")])]
        if (made.folder / "filter.json").is_file():
            more.append(filter_section(read_artifact(made.folder / "filter.json", dict[str, float])))
        if made.file("words"):
            more.append(probed_section("Learned words", "word", made.read("words", WordsFile).probes))
        if made.file("tuning") and not isinstance(self.classifier, Tailored):
            more.append(tuning_section(made.read("tuning", Tuned)))
        first, *others = own.sections
        return replace(own, title="Figment: a combination", sections=[first, *more, *others])


def recipe_of(stages: Stages, synthesis: SynthesisConfig, review: str | None) -> Custom:
    """What the report of a run with these stages says of them."""
    planning, training = stages.planning, stages.training
    classifier: BagOfTricks | SemanticDiversity | Tailored
    models = {"generator": planning.generator, "clip": stages.clip}
    if isinstance(training, Timm):
        config = base_of(training, TrainingConfig)
        classifier = BagOfTricks(
            **models, synthesis=synthesis, acceptance=stages.acceptance, training=config, review=review
        )
    elif isinstance(training, DualPrompt):
        classifier = Tailored(**models, backbone=training.backbone)
    else:
        classifier = SemanticDiversity(**models)
    own = "the planner's own"
    chosen = {
        "data": stages.data.kind,
        "prompts": ", ".join(kind.kind for kind in planning.prompts) or own,
        "adaptation": stages.adaptation.kind if stages.adaptation else "none",
        "plan": planning.planner.kind,
        "acceptance": f"{stages.acceptance.kind}: {stages.acceptance.rule}",
        "training": training.kind,
    }
    return Custom(classifier=classifier, chosen=chosen)
