"""The classifier enters the MLflow registry with its signature and its card."""

from pathlib import Path
from typing import Annotated

from figment.datasets.config import RealConfig
from figment.datasets.labelled import read_labelled
from figment.evaluation.model_card import measured, model_card
from figment.evaluation.results import Results
from figment.files import sha256_file, write_text
from figment.labels import LabelSpace
from figment.licences import clip_licence, licence_of
from figment.manifests import Classifiers
from figment.ops import registry, tracking
from figment.ops.champion import challenge
from figment.ops.steps import step
from figment.provenance import recipe_of
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.weights import model_revision
from figment.training.saved import Deployable, load_classifier
from figment.validation.clip import ClipConfig


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
    licences = {
        f"generator {generator.model}": licence_of(generator.model, model_revision(generator)),
        f"CLIP {clip.model}": clip_licence(clip.model, clip.pretrained),
    }
    text = model_card(register_as, chosen.name, card, results, recipe_of(folder), licences)
    write_text(folder / "model_card.md", text)
    tracking.log_file(folder / "model_card.md")
    tags = {
        registry.WEIGHTS: chosen.weights.sha256,
        registry.FOLDER: folder.as_posix(),
        registry.LIST: sha256_file(folder / "training_list.parquet"),
        "measured": measured(results[chosen.name], results),
    }
    same = [v.version for v in registry.versions_with(chosen.weights.sha256) if v.name == register_as]
    size, file = card.training.image_size, folder / "model_card.md"
    version = str(
        same[0] if same else tracking.register_classifier(Deployable(model), size, labels.names, register_as, file)
    )
    registry.tag(register_as, version, tags)
    write_text(Path(output) / "registered.txt", version)
    registry.point(register_as, registry.CHALLENGER, version)

    def test(size: int):
        return read_labelled(Path(real.path), "test", labels, size, real.test_per_class, card.training.resize)

    tracking.tag({"model.version": version, **challenge(register_as, version, test)})
    return version
