"""The classifier enters the MLflow registry with its signature and its card."""

from pathlib import Path
from typing import Annotated

from figment.clip.scorer import ClipConfig
from figment.datasets.config import RealConfig
from figment.datasets.labelled import LabelledImages, read_labelled
from figment.evaluation.model_card import classifier_card, measured
from figment.evaluation.provenance import recipe_of
from figment.evaluation.results import Results
from figment.files import write_text
from figment.images import Resize
from figment.labels import LabelSpace
from figment.licences import clip_licence, licence_of
from figment.manifests import Classifiers
from figment.ops import registry, tracking
from figment.ops.champion import accuracy_gain, challenge
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import model_revision
from figment.training.saved import Deployable, load_classifier

CARD = "model_card.md"


@step(experiment_tracker=True)
def register_classifier(
    labels: LabelSpace,
    classifiers: Classifiers,
    results: Results,
    generator: GeneratorConfig,
    clip: ClipConfig,
    real: RealConfig,
    register_as: str,
    output: str,
) -> Annotated[str, "model_version"]:
    """The combined set's classifier (or the only trick's), never the best on the test pictures, as ``challenger``; as
    ``champion`` if it beats the one there is by more than chance may.

    The same weights are registered once.
    """
    chosen = classifiers[results.confusion_of]
    folder = chosen.weights.open().parent
    model, card = load_classifier(folder)
    terms = licences_of(generator, clip)
    write_text(folder / CARD, classifier_card(register_as, chosen.name, card, results, recipe_of(folder), terms))
    version = registry.enter(
        register_as,
        chosen.weights,
        lambda: (Deployable(model), card.training.image_size, labels.names, card.training.resize),
        folder / CARD,
        Path(output),
        {"measured": measured(results[chosen.name], results)},
    )

    def test(size: int, resize: Resize) -> LabelledImages:
        native_size = card.training.native_size
        return read_labelled(Path(real.path), real.test, labels, size, real.test_per_class, resize, native_size)

    tracking.tag(challenge(register_as, version, accuracy_gain(test)))
    return version


def licences_of(generator: GeneratorConfig, *clips: ClipConfig) -> dict[str, str]:
    """The terms of the models that a recipe's pictures owe something to, by what each did."""
    terms = {f"CLIP {clip.model}": clip_licence(clip.model, clip.pretrained) for clip in clips}
    return {f"generator {generator.model}": licence_of(generator.model, model_revision(generator)), **terms}
