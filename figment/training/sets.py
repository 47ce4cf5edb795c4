"""Train one classifier on one set, unless exactly this was done already."""

from collections.abc import Callable

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import StreamedImages
from figment.files import write_json
from figment.labels import LabelSpace
from figment.training.config import TrainingConfig
from figment.training.histories import read_curve
from figment.training.kinds.timm_classifier import TIMM, timm_preprocessing
from figment.training.saved import Provenance, SavedModel, find_model, save_model
from figment.training.train import train_classifier


def train_on(
    name: str,
    key: str,
    images: Callable[[], StreamedImages],
    labels: LabelSpace,
    config: TrainingConfig,
    unfinished: Checkpoint,
    log: Callable[[int, dict[str, float]], None],
) -> SavedModel:
    """What is saved of the classifier in the folder of ``unfinished``, trained now if its ``key`` is not the one given; an
    interrupted training resumes from ``unfinished``. ``log`` sees the loss curve either way: it is kept beside the weights."""
    folder = unfinished.path.parent
    saved = find_model(folder)
    if saved is None or saved.provenance.key != key:
        history: list[tuple[int, dict[str, float]]] = []
        learned_from = images().load_if_it_fits()
        model = train_classifier(
            learned_from, len(labels), config, lambda step, m: history.append((step, m)), name, unfinished
        )
        write_json(folder / "history.json", history)
        saved = SavedModel(
            labels=labels,
            preprocessing=timm_preprocessing(config),
            images=len(learned_from),
            training=described(config),
            provenance=Provenance(key=key),
        )
        save_model(TIMM, model, config, saved, folder)
        unfinished.path.unlink(missing_ok=True)
    for step, metrics in read_curve(folder):
        log(step, metrics)
    return saved


def described(config: TrainingConfig) -> str:
    """A sentence on the network and its training."""
    length = f"{config.steps} steps" if config.steps else f"{config.epochs} epochs"
    return (
        f"{config.model} of timm from random weights, stem {config.stem}; {length} of {config.batch_size}, AdamW "
        f"{config.learning_rate:g}, seed {config.seed}."
    )
