"""A trained model of any kind enters the MLflow registry with its signature and its card."""

from pathlib import Path
from typing import Annotated

from zenml import get_step_context

from figment.clip.scorer import ClipConfig
from figment.datasets.config import FewShotDataConfig, RealConfig
from figment.datasets.few_shot import open_photos, read_splits
from figment.datasets.labelled import LabelledImages, read_labelled
from figment.datasets.tagged import read_tagged
from figment.evaluation.model_card import measured, model_card
from figment.evaluation.provenance import recipe_of
from figment.files import write_text
from figment.images import Resize
from figment.labels import LabelSpace
from figment.licences import clip_licence, licence_of
from figment.manifests import FileRef
from figment.ops import registry, tracking
from figment.ops.champion import Gain, accuracy_gain, challenge, ranking_gain
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import model_revision
from figment.training.kinds.registry import open_model
from figment.training.saved import add_provenance
from figment.types import Count, Seed, Settings

CARD = "model_card.md"


class PhotosConfig(Settings):
    """The test photos of a few-shot run: the first test set's."""

    data: FewShotDataConfig
    shots: Count
    seed: Seed


@step(experiment_tracker=True)
def register_model(
    model: FileRef,
    generator: GeneratorConfig,
    clips: list[ClipConfig],
    register_as: str,
    output: str,
    splits: FileRef | None = None,
    real: RealConfig | None = None,
    photos: PhotosConfig | None = None,
) -> Annotated[str, "model_version"]:
    """``model`` (its model.safetensors) as ``challenger``; as ``champion`` if it beats the one there is by more than chance may,
    on the test images of ``splits`` by mean average precision over all classes, on those of ``real`` or ``photos`` by macro
    accuracy. The same weights are registered once. ``clips``: whose terms the card tells if the images owe something to them."""
    folder = model.open().parent
    trained, recipe = open_model(folder), recipe_of(folder)
    run = get_step_context().pipeline_run.name
    saved = add_provenance(folder, f"{generator.model}@{model_revision(generator)}" if recipe else "", run)
    terms = licences_of(generator, *clips) if recipe else {}
    scores = "probabilities" if trained.kind.probabilities else "scores"
    write_text(folder / CARD, model_card(register_as, saved, recipe, terms, scores))
    version = registry.enter(
        register_as,
        model,
        lambda: (trained.scorer(), saved.labels.names, trained.preparation),
        folder / CARD,
        Path(output),
        {"measured": measured(saved)},
    )
    if photos and photos.data.cross_validated:
        tracking.tag({"champion": "not decided: there is no test set on which two models could be compared"})
        return version
    gain = gain_on(splits, real, photos, saved.labels, saved.preprocessing.native_size)
    tracking.tag(challenge(register_as, version, gain))
    return version


def gain_on(
    splits: FileRef | None,
    real: RealConfig | None,
    photos: PhotosConfig | None,
    labels: LabelSpace,
    native_size: int | None,
) -> Gain:
    """How two models are compared: on the test images that there are."""
    if splits:
        return ranking_gain(read_tagged(splits.open().parent / "gzsl"))
    if real:

        def test(size: int, resize: Resize) -> LabelledImages:
            return read_labelled(Path(real.path), real.test, labels, size, real.test_per_class, resize, native_size)

        return accuracy_gain(test)
    if not photos:
        raise ValueError("no test images are named: splits, real or photos")
    found = read_splits(photos.data, labels, photos.shots, photos.seed).tests[next(iter(photos.data.tests))]
    return accuracy_gain(lambda size, _: open_photos(found, size).load())


def licences_of(generator: GeneratorConfig, *clips: ClipConfig) -> dict[str, str]:
    """The terms of the models that a recipe's images owe something to, by what each did."""
    terms = {f"CLIP {clip.model}": clip_licence(clip.model, clip.pretrained) for clip in clips}
    return {f"generator {generator.model}": licence_of(generator.model, model_revision(generator)), **terms}
