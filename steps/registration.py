"""A trained model of any kind enters the MLflow registry with its signature and its card."""

from pathlib import Path
from typing import Annotated

from zenml import get_step_context

from figment.datasets.few_shot import open_photos
from figment.datasets.kinds import FewShotData, LabelledData
from figment.datasets.labelled import read_labelled
from figment.datasets.tagged import read_tagged
from figment.evaluation.model_card import measured, model_card
from figment.evaluation.provenance import recipe_of
from figment.files import write_text
from figment.labels import LabelSpace
from figment.manifests import FileRef, Prepared
from figment.ops import registry, tracking
from figment.ops.champion import Gain, accuracy_gain, challenge, ranking_gain
from figment.ops.steps import step
from figment.recipes.config import AnyRecipe
from figment.recipes.made import licences
from figment.synthesis.weights import model_revision
from figment.training.kinds.registry import open_model
from figment.training.saved import add_provenance

CARD = "model_card.md"


@step(experiment_tracker=True)
def register_model(recipe: AnyRecipe, model: FileRef, data: Prepared) -> Annotated[str, "model_version"]:
    """``model`` (its model.safetensors) as ``challenger``; as ``champion`` if it beats the one there is by more than chance may,
    on the test images: by mean average precision over all classes, or, of one class an image, by macro accuracy. The same weights
    are registered once. The card tells the terms of all that the images owe something to."""
    folder, generator = model.open().parent, recipe.generator
    trained, source = open_model(folder), recipe_of(folder)
    run = get_step_context().pipeline_run.name
    saved = add_provenance(folder, f"{generator.model}@{model_revision(generator)}" if source else "", run)
    terms = licences(generator, *recipe.clips) if source else {}
    scores = "probabilities" if trained.kind.probabilities else "scores"
    write_text(folder / CARD, model_card(recipe.register_as, saved, source, terms, scores))
    version = registry.enter(
        recipe.register_as,
        model,
        lambda: (trained.scorer(), saved.labels.names, trained.preparation),
        folder / CARD,
        Path(recipe.output),
        {"measured": measured(saved)},
    )
    if isinstance(recipe.dataset, FewShotData) and recipe.dataset.cross_validated:
        tracking.tag({"champion": "not decided: there is no test set on which two models could be compared"})
        return version
    gain = gain_on(recipe, data, saved.labels, saved.preprocessing.native_size)
    tracking.tag(challenge(recipe.register_as, version, gain))
    return version


def gain_on(recipe: AnyRecipe, data: Prepared, space: LabelSpace, native_size: int | None) -> Gain:
    """How two models are compared: on the test images that there are."""
    real = recipe.dataset
    if isinstance(real, LabelledData):
        path, split, few = Path(real.real.path), real.real.test, real.real.test_per_class
        return accuracy_gain(lambda size, resize: read_labelled(path, split, space, size, few, resize, native_size))
    if isinstance(real, FewShotData):
        first = real.splits(space).tests[next(iter(real.tests))]
        return accuracy_gain(lambda size, _: open_photos(first, size).load())
    assert data.splits is not None  # the data stage wrote them
    return ranking_gain(read_tagged(data.splits.open().parent / "gzsl"))
