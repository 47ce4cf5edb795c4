"""The semantic matrix enters the MLflow registry with its signature."""

from pathlib import Path
from typing import Annotated

from figment.files import write_text
from figment.manifests import FileRef
from figment.ops import caching, registry, tracking
from figment.ops.steps import step
from figment.training.saved_semantic import DeployableMatrix, load_semantic

REGISTERED = "figment-semantic-diversity"


@step(experiment_tracker=True)
def register_matrix(model: FileRef, output: str) -> Annotated[str, "model_version"]:
    """Pictures in, a score for every label out, as ``challenger``. The same weights are registered once."""
    stamp = Path(output) / "registered.txt"
    key = caching.key_of(weights=model.sha256)
    if not (caching.is_current(stamp, key) and registry.is_registered(REGISTERED, stamp.read_text())):
        matrix, labels, card = load_semantic(model.open().parent)
        deployable = DeployableMatrix(matrix, labels, card.training.pooling)
        size = card.training.image_size
        write_text(stamp, tracking.register_classifier(deployable, size, labels.names, REGISTERED))
        caching.mark_current(stamp, key)
    version = stamp.read_text()
    where = {registry.WEIGHTS: model.sha256, registry.FOLDER: model.open().parent.as_posix()}
    registry.tag(REGISTERED, version, where)
    registry.point(REGISTERED, registry.CHALLENGER, version)
    tracking.tag({"model.version": version})
    return version
