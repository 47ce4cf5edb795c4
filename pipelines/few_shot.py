"""Few-shot classification by "DIAGen" (Lingenberg et al. 2024), with DA-Fusion, Real Guidance and plain photos beside it.

A few photos of each class in; words learned for the classes, contexts from a language model, a plan of images made from each
photo, a calibrated head that weighs them, one linear classifier a method on a frozen backbone's cached features (which
learns on with it if ``training.finetune`` says so), its accuracy on every test set, a report and a registered model out.
Each method is a few fields: figment.planning.few_shot.

    zenml pipeline run pipelines.few_shot.few_shot -c configs/pocket/few_shot.yaml
"""

from typing import Annotated

from pydantic import Field

from figment.adaptation.config import InversionConfig, LoraConfig, ProbeConfig
from figment.clip.config import DEFAULT_CLIP, ClipConfig
from figment.datasets.config import FewShotDataConfig, check_cross_validation
from figment.ops.pipelines import figment_pipeline
from figment.ops.versioning_config import VersioningConfig
from figment.planning.generator_config import DEFAULT_GENERATOR, GeneratorConfig
from figment.planning.methods import METHODS, Method, check_names
from figment.prompts.contexts import SCENES, ContextConfig
from figment.recipes.few_shot import FewShot
from figment.synthesis.config import SynthesisConfig
from figment.training.config import FewShotTrainingConfig
from figment.types import Count, PathText, RegisteredName, Seed
from figment.validation.config import GateConfig
from steps.few_shot.concepts import learn_loras, learn_words
from steps.few_shot.contexts import write_contexts
from steps.few_shot.evaluation import evaluate_heads
from steps.few_shot.features import look_at_images, look_at_photos
from steps.few_shot.finetuning import finetune_heads
from steps.few_shot.photos import choose_photos
from steps.few_shot.planning import plan_images
from steps.few_shot.training import train_heads
from steps.few_shot.weighting import weigh_images
from steps.gates import check_made, check_photos
from steps.lineage import record_lineage, version_dataset
from steps.registration import PhotosConfig, register_model
from steps.reporting import write_report
from steps.synthesis import synthesise_images


@figment_pipeline
def few_shot(
    classes: list[str],
    data: FewShotDataConfig,
    output: PathText,
    labels: PathText | None = None,
    shots: Count = 4,
    methods: Annotated[dict[str, Method], Field(min_length=1)] = METHODS,
    contexts: ContextConfig = ContextConfig(templates=SCENES),  # noqa: B008
    inversion: InversionConfig = InversionConfig(),  # noqa: B008
    probe: ProbeConfig = ProbeConfig(),  # noqa: B008
    generator: GeneratorConfig = DEFAULT_GENERATOR,
    synthesis: SynthesisConfig = SynthesisConfig(),  # noqa: B008
    clip: ClipConfig = DEFAULT_CLIP,
    training: FewShotTrainingConfig = FewShotTrainingConfig(),  # noqa: B008
    adaptation: LoraConfig = LoraConfig(),  # noqa: B008
    gates: GateConfig = GateConfig(),  # noqa: B008
    versioning: VersioningConfig = VersioningConfig(),  # noqa: B008
    register_as: RegisteredName = "figment-few-shot",
    seed: Seed = 0,
) -> None:
    check_names(methods)
    check_cross_validation(data, shots, training.finetune is not None)
    space, photos = choose_photos(classes, labels, data, shots, methods, generator, clip, contexts, seed, output)
    checked = check_photos(space, data, shots, seed, gates, output, after=[photos])
    seen = look_at_photos(space, photos, data, shots, training, seed, output, after=[checked])
    making = [method for method in methods.values() if method.images]
    said = learned = loras = plan = uses = images = seen_images = weights = unseen_before = None
    if any(method.contexts for method in making):
        said = write_contexts(space, contexts, output, after=[seen])
    if any(method.concepts for method in making):
        learned = learn_words(space, photos, generator, inversion, probe, synthesis, clip, output, after=[said or seen])
    if any(method.lora for method in making):
        before = [learned or said or seen]
        loras = learn_loras(space, photos, generator, adaptation, probe, synthesis, clip, output, after=before)
    if making:
        plan, uses = plan_images(space, photos, methods, generator, seed, output, said, learned, loras)
        _, images = synthesise_images(plan, synthesis, clip, after=[seen])
        unseen_before = check_made(space, data, shots, seed, plan, images, gates, output)
        seen_images = look_at_images(space, plan, images, training, seed, output, after=[unseen_before])
    if any(method.weights != "equal" for method in making):
        weights = weigh_images(space, plan, seen, seen_images, training, seed, output)
    made = {"plan": plan, "uses": uses, "images": images, "weights": weights}
    heads = train_heads(space, methods, seen, training, seed, output, image_features=seen_images, **made)
    if training.finetune:
        heads = finetune_heads(space, methods, data, shots, heads, training, seed, output, **made)
    results, deployed = evaluate_heads(space, data, shots, photos, seen, heads, clip, seed, output, images, uses)
    adapted = [said, learned, loras]
    found = [space, photos, heads, results, checked, unseen_before, plan, uses, images, weights, *adapted]
    recipe = FewShot(generator=generator).model_dump(mode="json")
    report = write_report(recipe, [item for item in found if item is not None], output)
    tested = PhotosConfig(data=data, shots=shots, seed=seed)
    version = register_model(deployed, generator, [], register_as, output, photos=tested)
    dataset = version_dataset(output, versioning, after=[report, version])
    record_lineage(output, dataset)
