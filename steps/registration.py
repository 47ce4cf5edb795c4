"""The classifier enters the MLflow registry with its signature."""

from pathlib import Path
from typing import Annotated

from zenml import step

from figment.evaluation.results import Results
from figment.manifests import Classifiers
from figment.ops import caching, tracking
from figment.training.saved import Deployable, load_classifier

REGISTERED = "figment-bag-of-tricks"


@step(experiment_tracker=True)
def register_classifier(classifiers: Classifiers, results: Results, output: str) -> Annotated[str, "model_version"]:
    """The combined set's classifier (or the only trick's), never the best on the test pictures, as ``challenger``.

    The same weights are registered once.
    """
    chosen = classifiers[results.confusion_of]
    folder = chosen.weights.open().parent
    stamp = Path(output) / "registered.txt"
    key = caching.key_of(weights=chosen.weights.sha256)
    if not (caching.is_current(stamp, key) and tracking.is_registered(REGISTERED, stamp.read_text())):
        model, card = load_classifier(folder)
        version = tracking.register_classifier(
            Deployable(model), card.training.image_size, card.labels.names, REGISTERED
        )
        stamp.write_text(version)
        caching.mark_current(stamp, key)
    version = stamp.read_text()
    tracking.point_challenger(REGISTERED, version)
    tracking.tag({"model.version": version})
    return version
