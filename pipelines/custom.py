"""Any combination of the papers' stages: each stage's ``kind`` chooses whose it is, a config says all.

Class names and real images that measure in; prompts of grammars or a chat model, a generator as it is, tuned, or with learned
words, images of prompts or of photos, accepted by CLIP or a filter of one's own; any classifier out, with its report.
What cannot be combined is one sentence before anything starts (figment.recipes.stages).

    zenml pipeline run pipelines.custom.custom -c configs/pocket/custom_classifier.yaml
"""

from typing import Literal

from figment.clip.config import ClipConfig
from figment.datasets.config import PhotosConfig
from figment.ops.pipelines import figment_pipeline
from figment.ops.versioning_config import VersioningConfig
from figment.planning.generator_config import GeneratorConfig
from figment.planning.planners import Planner, Planning, TopUp
from figment.planning.quotas import QuotaConfig
from figment.prompts.kinds import PromptKind
from figment.recipes.custom import recipe_of
from figment.recipes.stages import RECIPE, Adaptation, Data, DualPrompt, Stages, Training
from figment.synthesis.config import SynthesisConfig
from figment.training.acceptance import Acceptance
from figment.types import PathText, RegisteredName, Seed
from figment.validation.config import GateConfig
from steps.custom import (
    adapt_generator,
    check_few_photos,
    choose_few_photos,
    choose_stage_labels,
    prepare_data,
    train_and_measure,
)
from steps.lineage import record_lineage, version_dataset
from steps.planning import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.reporting import write_report
from steps.synthesis import synthesise_images
from steps.validation import validate_images


@figment_pipeline
def custom(
    data: Data,
    planner: Planner,
    generator: GeneratorConfig,
    synthesis: SynthesisConfig,
    clip: ClipConfig,
    acceptance: Acceptance,
    training: Training,
    output: PathText,
    prompts: list[PromptKind] = (),  # type: ignore[assignment]
    negative_prompt: str = "",
    photos: PhotosConfig | None = None,
    adaptation: Adaptation | None = None,
    imported: list[PathText] = (),  # type: ignore[assignment]
    against: Literal["wanted", "all"] = "all",
    quota: QuotaConfig | None = None,
    review: PathText | None = None,
    gates: GateConfig = GateConfig(),  # noqa: B008
    versioning: VersioningConfig = VersioningConfig(),  # noqa: B008
    register_as: RegisteredName = "figment-custom",
    seed: Seed = 0,
) -> None:
    planning = Planning(
        recipe=RECIPE,
        planner=planner,
        generator=generator,
        prompts=prompts,
        negative_prompt=negative_prompt,
        imported=imported,
        seed=seed,
    )
    stages = Stages(
        data=data,
        planning=planning,
        clip=clip,
        acceptance=acceptance,
        training=training,
        adaptation=adaptation,
        photos=photos,
        against=against,
        quota=quota,
    )
    stages.check()
    space, asked = choose_stage_labels(stages, output)
    splits, real_checked = prepare_data(stages, space, gates, output)
    kept, before = None, [real_checked]
    if photos:
        kept = choose_few_photos(asked, photos, output)
        before.append(check_few_photos(asked, kept, gates, output, space, stages.real, splits))
    book = write_prompts(asked, planning, output, after=before) if prompts else None
    rivals = space if against == "all" else asked  # what a class that was asked for must be more probable than
    adapted = adapt_generator(stages, rivals, asked, book, kept, synthesis, output, before)
    plan = plan_images(space, planning, output, book, adapted, kept, after=before)
    top_up = TopUp(quota=quota, planning=planning, review=review) if quota else None
    planned, images = synthesise_images(plan, synthesis, clip, rivals, acceptance, top_up, book, adapted)
    verdicts = validate_images(
        asked if kept and not acceptance.by_clip else rivals, planned, images, clip, acceptance, quota, review, kept
    )
    made, model = train_and_measure(stages, space, splits, images, verdicts, real_checked, gates, output)
    found = [asked, planned, images, verdicts, model, real_checked, *made]
    recipe = recipe_of(stages, synthesis, review).model_dump(mode="json")
    report = write_report(recipe, [item for item in [*found, adapted] if item is not None], output)
    clips = [clip, training.backbone] if isinstance(training, DualPrompt) else [clip]
    version = register_model(
        model, generator, clips, register_as, output, splits=splits, real=stages.real, after=[report]
    )
    dataset = version_dataset(output, versioning, after=[report, version])
    record_lineage(output, dataset)
