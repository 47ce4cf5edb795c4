"""The few-shot classifier, backbone and head together, enters the MLflow registry with its signature and its card."""

from pathlib import Path
from typing import Annotated

from figment.datasets.config import FewShotDataConfig
from figment.datasets.few_shot import open_photos, read_splits
from figment.datasets.labelled import LabelledImages
from figment.evaluation.few_shot_results import FewShotResults
from figment.evaluation.model_card import model_card
from figment.evaluation.provenance import recipe_of
from figment.files import write_text
from figment.images import Resize
from figment.labels import LabelSpace
from figment.manifests import Classifiers
from figment.ops import registry, tracking
from figment.ops.champion import accuracy_gain, challenge
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.training.saved_few_shot import DeployableHead, load_head, load_own_backbone
from steps.registration import CARD, licences_of


@step(experiment_tracker=True)
def register_head(
    labels: LabelSpace,
    heads: Classifiers,
    results: FewShotResults,
    data: FewShotDataConfig,
    shots: int,
    generator: GeneratorConfig,
    register_as: str,
    seed: int,
    output: str,
) -> Annotated[str, "model_version"]:
    """The deployed method's classifier, chosen before anything was measured, as ``challenger``; as ``champion`` if its accuracy
    on the first test set beats that of the one there is by more than chance may. The same weights are registered once."""
    chosen = heads[results.deployed]
    folder = chosen.weights.open().parent
    head, card = load_head(folder)
    backbone = load_own_backbone(card, folder, "cpu")
    size, recipe, first = card.backbone.image_size, recipe_of(folder), next(iter(data.tests))
    numbers = {
        test: f"{100 * found.value:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"
        for test, found in results[chosen.name].tests.items()
    }
    rows = [f"| {test} | {results.pictures[test]} | {found} |" for test, found in numbers.items()]
    about = f"{len(labels)} classes from {shots} photos of each" + (" and pictures made from them." if recipe else ".")
    learnt = "fine-tuned" if card.finetuned else "frozen"
    training = (
        f"Method {chosen.name}: a linear head on the {learnt} {card.backbone.model}, {size} px, step {card.kept}."
    )
    text = model_card(
        register_as,
        about,
        size,
        "squash",
        labels.names,
        ["| test set | photos | macro accuracy |", "|---|---|---|", *rows],
        training,
        recipe,
        licences_of(generator) if recipe else {},
    )
    write_text(folder / CARD, text)
    version = registry.enter(
        register_as,
        chosen.weights,
        lambda: (DeployableHead(backbone, head), size, labels.names, "squash"),
        folder / CARD,
        Path(output),
        {"measured": f"macro accuracy {numbers[first]} on {results.pictures[first]} photos of {first}"},
    )
    listing = read_splits(data, labels, shots, seed).tests[first]

    def test(side: int, _: Resize) -> LabelledImages:
        return open_photos(listing, side).load()

    tracking.tag(challenge(register_as, version, accuracy_gain(test)))
    return version
