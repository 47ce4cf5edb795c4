"""The semantic matrix enters the MLflow registry with its signature and its card."""

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
from figment.training.saved_semantic import DeployableMatrix, load_semantic
from steps.registration import CARD, licences_of


@step(experiment_tracker=True)
def register_matrix(
    model: FileRef, splits: FileRef, generator: GeneratorConfig, clip: ClipConfig, register_as: str, output: str
) -> Annotated[str, "model_version"]:
    """Pictures in, a score for every label out, as ``challenger``; as ``champion`` if its mean average precision over all labels
    beats that of the one there is by more than chance may. The same weights are registered once."""
    folder = model.open().parent
    matrix, labels, card = load_semantic(folder)
    config, recipe = card.training, recipe_of(folder)
    numbers = read_artifact(Path(output) / "metrics.json", dict[str, float])
    measured = {name: value for name, value in numbers.items() if name.startswith(("zsl/", "gzsl/"))}
    about = (
        f"Ranks {len(labels)} tags, of which {', '.join(card.unseen)} had no real picture; any other tag can be added by its "
        "vector alone (`figment predict --tags`)."
    )
    training = (
        f"{config.model} of timm with {config.rows} principal vectors; {config.epochs} epochs, seed {config.seed}."
    )
    terms = licences_of(generator, clip) if recipe else {}
    text = model_card(
        register_as,
        about,
        config.image_size,
        "squash",
        labels.names,
        table_of(measured),
        training,
        recipe,
        terms,
        "scores",
    )
    write_text(folder / CARD, text)
    version = registry.enter(
        register_as,
        model,
        lambda: (DeployableMatrix(matrix, labels, config.pooling), config.image_size, labels.names, "squash"),
        folder / CARD,
        Path(output),
        {"measured": f"GZSL mAP {100 * numbers['gzsl/mAP']:.1f} %, ZSL mAP {100 * numbers['zsl/mAP']:.1f} %"},
    )
    test = read_tagged(splits.open().parent / "gzsl")
    tracking.tag(challenge(register_as, version, ranking_gain(test)))
    return version
