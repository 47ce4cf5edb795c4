"""Zero-shot multi-label classification by tailored images (Zhang et al. 2024, "Diverse and Tailored Image Generation for
Zero-shot Multi-label Classification").

Names of unseen classes in; prompts for their pairs, a text encoder tuned on them, images that CLIP has checked, and a
classifier out that learned from those and from real images of seen classes.

    zenml pipeline run pipelines.tailored.tailored -c configs/pocket/tailored.yaml
"""

from typing import Literal

from figment.adaptation.config import TuningConfig
from figment.clip.config import DEFAULT_CLIP, ClipConfig
from figment.datasets.config import ZeroShotConfig
from figment.imports.contract import check_imported
from figment.ops.pipelines import figment_pipeline
from figment.ops.versioning_config import VersioningConfig
from figment.planning.generator_config import DEFAULT_GENERATOR, GeneratorConfig
from figment.planning.planners import Planning, PromptPlanner, TopUp
from figment.planning.quotas import QuotaConfig
from figment.planning.tailored import RECIPE
from figment.prompts.kinds import PairPrompts
from figment.prompts.pair_book import PairPromptConfig
from figment.recipes.tailored import Tailored
from figment.synthesis.config import SynthesisConfig
from figment.training.config import DualPromptConfig
from figment.types import Count, PathText, RegisteredName, Seed, Side
from figment.validation.config import GateConfig
from figment.validation.policies import AcceptancePolicy, CocoPolicy
from steps.gates import check_splits, check_tagged
from steps.lineage import record_lineage, version_dataset
from steps.planning import plan_images
from steps.prompts import write_prompts
from steps.registration import register_model
from steps.reporting import write_report
from steps.semantic.images import prepare_images
from steps.synthesis import synthesise_images
from steps.tailored.labels import choose_classes
from steps.tailored.training import train_classifier
from steps.tailored.tuning import tune_generator
from steps.validation import validate_images


@figment_pipeline
def tailored(
    data: ZeroShotConfig,
    output: PathText,
    negative_prompt: str = "",
    tuning: TuningConfig | None = None,
    imported: list[PathText] = (),  # type: ignore[assignment]
    quota: QuotaConfig | None = None,
    against: Literal["unseen", "all"] = "unseen",
    gates: GateConfig = GateConfig(),  # noqa: B008
    versioning: VersioningConfig = VersioningConfig(),  # noqa: B008
    register_as: RegisteredName = "figment-tailored",
    seed: Seed = 0,
    prompts: PairPromptConfig = PairPromptConfig(),  # noqa: B008
    generator: GeneratorConfig = DEFAULT_GENERATOR,
    synthesis: SynthesisConfig = SynthesisConfig(),  # noqa: B008
    clip: ClipConfig = DEFAULT_CLIP,
    backbone: ClipConfig = ClipConfig(model="RN50", pretrained="openai"),  # noqa: B008
    classifier: DualPromptConfig = DualPromptConfig(),  # noqa: B008
    acceptance: AcceptancePolicy = CocoPolicy(),  # noqa: B008
    images_per_pair: Count = 16,
    image_size: Side = 224,
) -> None:
    check_imported(imported)
    labels, unseen = choose_classes(data, generator, clip, backbone, classifier, prompts, output)
    splits = prepare_images(labels, data, image_size, output)
    real_checked = check_splits(labels, splits, gates, output)
    planning = Planning(
        recipe=RECIPE,
        planner=PromptPlanner(images=images_per_pair),
        generator=generator,
        prompts=(PairPrompts(**prompts.model_dump(exclude_unset=True)),),
        negative_prompt=negative_prompt,
        imported=imported,
        seed=seed,
    )
    book = write_prompts(unseen, planning, output, after=[real_checked])  # wrong data shows before anything is rendered
    rivals = unseen if against == "unseen" else labels  # what a class that was asked for must be more probable than
    tuned = (
        tune_generator(rivals, book, generator, negative_prompt, clip, acceptance, tuning, output) if tuning else None
    )
    planned = plan_images(rivals, planning, output, book, tuned)
    top_up = TopUp(quota=quota, planning=planning) if quota else None
    plan, images = synthesise_images(planned, synthesis, clip, rivals, acceptance, top_up, book, tuned)
    verdicts = validate_images(rivals, plan, images, clip, acceptance)
    checked = check_tagged(labels, splits, images, verdicts, gates, output)
    model = train_classifier(
        labels, splits, images, verdicts, image_size, backbone, classifier, output, after=[checked]
    )
    found = [unseen, plan, images, verdicts, checked, model, *([tuned] if tuned else [])]
    recipe = Tailored(generator=generator, clip=clip, backbone=backbone).model_dump(mode="json")
    report = write_report(recipe, found, output)
    version = register_model(model, generator, [clip, backbone], register_as, output, splits=splits)
    dataset = version_dataset(output, versioning, after=[report, version])
    record_lineage(output, dataset)
