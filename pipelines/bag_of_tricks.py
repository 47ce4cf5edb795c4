"""Zero-shot classification by the bag of tricks (Shipard et al. 2023, "Diversity is Definitely Needed").

Class names in; prompts, a plan, images, CLIP's verdicts, one classifier a trick and one a union of tricks (by default all
combined; the paper's best; the same at fixed size), their top-1 on real images, a report and a registered model out. With
``parts`` above 1 as many steps render side by side, where the orchestrator can.

    zenml pipeline run pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/bag_of_tricks.yaml
"""

from typing import Annotated

from pydantic import Field

from figment.clip.config import DEFAULT_CLIP, ClipConfig
from figment.datasets.config import RealConfig
from figment.errors import InputError
from figment.imports.contract import check_imported
from figment.ops.pipelines import figment_pipeline
from figment.ops.versioning_config import VersioningConfig
from figment.planning.bag_of_tricks import RECIPE, most_of, training_sets
from figment.planning.generator_config import DEFAULT_GENERATOR, GeneratorConfig
from figment.planning.planners import ImportedPlanner, Planning, PromptPlanner, TopUp
from figment.planning.quotas import QuotaConfig
from figment.prompts.kinds import TrickPrompts
from figment.prompts.tricks import TRICKS, Wording, build_tricks
from figment.recipes.bag_of_tricks import BagOfTricks
from figment.synthesis.config import SynthesisConfig
from figment.training.config import TrainingConfig
from figment.types import Count, PathText, RegisteredName, Seed
from figment.validation.config import GateConfig
from figment.validation.policies import Top1Policy
from steps.errors import explain_errors
from steps.evaluation import evaluate_classifiers
from steps.gates import check_real_sets, check_sets
from steps.labels import choose_labels
from steps.lineage import record_lineage, version_dataset
from steps.planning import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.reporting import write_report
from steps.synthesis import render_part, synthesise_images
from steps.training import train_classifiers
from steps.validation import validate_images


@figment_pipeline
def bag_of_tricks(
    classes: list[str],
    real: RealConfig,
    output: PathText,
    labels: PathText | None = None,
    tricks: list[str] = TRICKS,
    images_per_class: Count = 100,
    generator: GeneratorConfig = DEFAULT_GENERATOR,
    synthesis: SynthesisConfig = SynthesisConfig(),  # noqa: B008
    clip: ClipConfig = DEFAULT_CLIP,
    acceptance: Top1Policy = Top1Policy(),  # noqa: B008
    training: TrainingConfig = TrainingConfig(),  # noqa: B008
    domains: Annotated[list[str], Field(min_length=1)] | None = None,
    wording: Wording = Wording(),  # noqa: B008
    unions: dict[str, dict[str, Count]] | None = None,
    fixed_size: bool = False,
    imported: list[PathText] = (),  # type: ignore[assignment]
    quota: QuotaConfig | None = None,
    review: PathText | None = None,
    gates: GateConfig = GateConfig(),  # noqa: B008
    versioning: VersioningConfig = VersioningConfig(),  # noqa: B008
    register_as: RegisteredName = "figment-bag-of-tricks",
    parts: Count = 1,
    seed: Seed = 0,
) -> None:
    names = [*tricks, *check_imported(imported)]
    if not names:
        raise InputError("tricks: none is named, and no images are imported; name a trick, such as base_class")
    build_tricks(tricks, domains, generator.guidance_scale, wording)  # an unknown trick is told now
    planned_sets = training_sets(names, images_per_class, unions, fixed_size)
    sets = training_sets(names, quota.accepted, unions, fixed_size, largest=1) if quota else planned_sets
    space = choose_labels(classes, labels, generator, clip, training, real, review)
    real_checked = check_real_sets(space, real, gates, output)
    planning = Planning(
        recipe=RECIPE,
        planner=PromptPlanner(images=most_of(planned_sets)) if tricks else ImportedPlanner(),
        generator=generator,
        prompts=(TrickPrompts(tricks=tricks, domains=domains, wording=wording),) if tricks else (),
        imported=imported,
        seed=seed,
    )
    prompts = write_prompts(space, planning, output, after=[real_checked]) if tricks else None
    plan = plan_images(space, planning, output, prompts, after=[real_checked])
    rendered = [render_part(plan, synthesis, clip, part, parts) for part in range(parts)] if parts > 1 else []
    top_up = TopUp(quota=quota, planning=planning, review=review) if quota and tricks else None
    planned, images = synthesise_images(
        plan, synthesis, clip, space, acceptance, top_up=top_up, prompts=prompts, after=rendered
    )
    verdicts = validate_images(space, planned, images, clip, acceptance, quota, review)
    checked = check_sets(space, images, verdicts, sets, real, gates, output, real_checked)
    classifiers = train_classifiers(space, images, verdicts, sets, training, real, output, after=[checked])
    results, deployed = evaluate_classifiers(space, images, classifiers, clip, real, training.image_size, output)
    errors = explain_errors(space, images, classifiers, results, clip, real, output)
    recipe = BagOfTricks(
        generator=generator, synthesis=synthesis, clip=clip, acceptance=acceptance, training=training, review=review
    )
    report = write_report(
        recipe.model_dump(mode="json"), [planned, images, verdicts, checked, classifiers, results, errors], output
    )
    version = register_model(deployed, generator, [clip], register_as, output, real=real)
    dataset = version_dataset(output, versioning, after=[report, version])
    record_lineage(output, dataset)
