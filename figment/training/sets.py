"""Train one classifier on one set, unless exactly this was done already."""

from collections.abc import Callable

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import StreamedImages
from figment.files import write_json
from figment.labels import LabelSpace
from figment.training.config import TrainingConfig
from figment.training.histories import read_curve
from figment.training.saved import ClassifierCard, read_card, save_classifier
from figment.training.train import train_classifier

CHECKPOINT = "checkpoint.pt"  # of no use once the classifier is saved


def train_on(
    name: str,
    key: str,
    images: Callable[[], StreamedImages],
    labels: LabelSpace,
    config: TrainingConfig,
    unfinished: Checkpoint,
    log: Callable[[int, dict[str, float]], None],
) -> ClassifierCard:
    """The card of the classifier in the folder of ``unfinished``, trained now if its ``key`` is not the one given; an
    interrupted training resumes from ``unfinished``. ``log`` sees the loss curve either way: it is kept beside the weights."""
    folder = unfinished.path.parent
    card = read_card(folder)
    if card is None or card.key != key:
        history: list[tuple[int, dict[str, float]]] = []
        learnt_from = images().load_if_it_fits()
        model = train_classifier(
            learnt_from, len(labels), config, lambda step, m: history.append((step, m)), name, unfinished
        )
        write_json(folder / "history.json", history)
        card = ClassifierCard(key=key, labels=labels, training=config, images=len(learnt_from))
        save_classifier(model, card, folder)
        unfinished.path.unlink(missing_ok=True)
    for step, metrics in read_curve(folder):
        log(step, metrics)
    return card
