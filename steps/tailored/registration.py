"""The classifier enters the MLflow registry with its signature and its card."""

from pathlib import Path
from typing import Annotated

from figment.clip.scorer import ClipConfig
from figment.datasets.tagged import read_tagged
from figment.evaluation.model_card import model_card, table_of
from figment.evaluation.provenance import recipe_of
from figment.files import write_text
from figment.manifests import FileRef
from figment.ops import registry, tracking
from figment.ops.champion import challenge, ranking_gain
from figment.ops.steps import step
from figment.planning.generator_config import GeneratorConfig
from figment.reading import read_artifact
from figment.training.histories import HISTORY, ComparedEpochs
from figment.training.saved_dual_prompt import DeployableDualPrompts, load_dual_prompts
from steps.registration import CARD, licences_of


@step(experiment_tracker=True)
def register_prompts(
    classifier: FileRef,
    splits: FileRef,
    generator: GeneratorConfig,
    clip: ClipConfig,
    backbone: ClipConfig,
    register_as: str,
    output: str,
) -> Annotated[str, "model_version"]:
    """Pictures in, a probability of every class out, as ``challenger``; as ``champion`` if its mean average precision over all
    classes beats that of the one there is by more than chance may. The same weights are registered once."""
    folder = classifier.open().parent
    model, card = load_dual_prompts(folder)
    history = read_artifact(folder / HISTORY, ComparedEpochs)
    unseen = [card.labels.names[i] for i in card.labels.unseen_ids]
    about = (
        f"Tags of {len(card.labels)} classes; real pictures of all but {', '.join(unseen)}, of which it has only seen "
        "generated ones."
    )
    training = (
        f"Prompts and fusion trained on the frozen CLIP {backbone.model}; epoch {history.kept} of "
        f"{len(history.epochs)}, chosen by pictures held out from training; {history.made} generated pictures."
    )
    terms = licences_of(generator, clip, backbone)
    numbers = table_of(history.test | {f"CLIP as it is: {name}": value for name, value in history.clip.items()})
    text = model_card(
        register_as, about, card.image_size, "squash", card.labels.names, numbers, training, recipe_of(folder), terms
    )
    write_text(folder / CARD, text)
    version = registry.enter(
        register_as,
        classifier,
        lambda: (DeployableDualPrompts(model), card.image_size, card.labels.names, "squash"),
        folder / CARD,
        Path(output),
        {"measured": f"GZSL mAP {100 * history.test['gzsl/mAP']:.1f} %, ZSL mAP {100 * history.test['zsl/mAP']:.1f} %"},
    )
    test = read_tagged(splits.open().parent / "gzsl")
    tracking.tag(challenge(register_as, version, ranking_gain(test)))
    return version
