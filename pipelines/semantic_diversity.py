"""Zero-shot tags by semantic diversity (Ben-Cohen et al. 2021, "Semantic Diversity Learning for Zero-Shot Multi-label
Classification").

Images with seen tags in; a matrix of embeddings that ranks unseen tags too, its ZSL and GZSL measures after every epoch,
a report and a registered model out. With ``generated``, images synthesised for the unseen tags join the training if CLIP
sees in them what they were asked to show.

    zenml pipeline run pipelines.semantic_diversity.semantic_diversity -c configs/pocket/semantic_diversity.yaml
"""

from typing import Annotated

from pydantic import Field

from figment.clip.config import DEFAULT_CLIP, ClipConfig, LabelVectorConfig
from figment.datasets.config import ZeroShotConfig
from figment.imports.contract import check_imported
from figment.ops.pipelines import figment_pipeline
from figment.ops.versioning_config import VersioningConfig
from figment.planning.generator_config import DEFAULT_GENERATOR, GeneratorConfig
from figment.planning.pairs import RECIPE
from figment.planning.planners import ImportedPlanner, PairPlanner, Planning
from figment.recipes.semantic_diversity import SemanticDiversity
from figment.synthesis.config import SynthesisConfig
from figment.training.config import SemanticConfig, check_selection
from figment.types import Count, Number, PathText, RegisteredName, Seed
from figment.validation.config import GateConfig
from figment.validation.policies import AcceptancePolicy, CocoPolicy
from steps.gates import check_splits, check_tagged
from steps.lineage import record_lineage, version_dataset
from steps.planning import plan_images
from steps.registration import register_model
from steps.reporting import write_report
from steps.semantic.images import prepare_images
from steps.semantic.labels import choose_tags
from steps.semantic.training import train_matrix
from steps.synthesis import synthesise_images
from steps.validation import validate_images


@figment_pipeline
def semantic_diversity(
    data: ZeroShotConfig,
    output: PathText,
    generated: bool = False,
    imported: list[PathText] = (),  # type: ignore[assignment]
    twin_cosine: Annotated[Number, Field(gt=0, le=1)] = 0.8,
    gates: GateConfig = GateConfig(),  # noqa: B008
    versioning: VersioningConfig = VersioningConfig(),  # noqa: B008
    register_as: RegisteredName = "figment-semantic-diversity",
    seed: Seed = 0,
    vectors: LabelVectorConfig = LabelVectorConfig(clip=DEFAULT_CLIP),  # noqa: B008
    training: SemanticConfig = SemanticConfig(),  # noqa: B008
    generator: GeneratorConfig = DEFAULT_GENERATOR,
    synthesis: SynthesisConfig = SynthesisConfig(),  # noqa: B008
    clip: ClipConfig = DEFAULT_CLIP,
    acceptance: AcceptancePolicy = CocoPolicy(),  # noqa: B008
    images_per_label: Count = 100,
) -> None:
    check_selection(training)
    check_imported(imported)
    making = {"generator": generator, "clip": clip} if generated else {}
    space = choose_tags(data, vectors, training, **making)
    splits = prepare_images(space, data, training.image_size, output)
    checked = [check_splits(space, splits, gates, output)]  # wrong data shows before anything is rendered
    verdicts, made = None, []
    if generated or imported:
        planner = PairPlanner(images=images_per_label) if generated else ImportedPlanner()
        planning = Planning(recipe=RECIPE, planner=planner, generator=generator, imported=imported, seed=seed)
        planned = plan_images(space, planning, output, after=checked)
        plan, images = synthesise_images(planned, synthesis, clip, space, acceptance)
        verdicts = validate_images(space, plan, images, clip, acceptance)
        splits = prepare_images(space, data, training.image_size, output, images, verdicts)
        checked.append(check_tagged(space, splits, images, verdicts, gates, output))
        made = [plan, images, verdicts]
    model = train_matrix(space, splits, vectors, training, twin_cosine, output, verdicts, after=checked)
    recipe = SemanticDiversity(generator=generator, clip=clip)
    report = write_report(recipe.model_dump(mode="json"), [splits, model, *made, *checked], output)
    version = register_model(model, generator, [clip], register_as, output, splits=splits, after=[report])
    dataset = version_dataset(output, versioning, after=[version])
    record_lineage(output, dataset)
