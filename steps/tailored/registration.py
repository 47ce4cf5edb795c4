"""The classifier enters the MLflow registry with its signature."""

from pathlib import Path
from typing import Annotated

from figment.files import write_text
from figment.manifests import FileRef
from figment.ops import caching, registry, tracking
from figment.ops.steps import step
from figment.training.saved_dual_prompt import DeployableDualPrompts, load_dual_prompts

REGISTERED = "figment-tailored"


@step(experiment_tracker=True)
def register_prompts(classifier: FileRef, output: str) -> Annotated[str, "model_version"]:
    """Pictures in, a probability of every class out, as ``challenger``. The same weights are registered once."""
    stamp = Path(output) / "registered.txt"
    key = caching.key_of(weights=classifier.sha256)
    if not (caching.is_current(stamp, key) and registry.is_registered(REGISTERED, stamp.read_text())):
        model, card = load_dual_prompts(classifier.open().parent)
        deployable = DeployableDualPrompts(model)
        names = card.labels.names
        write_text(stamp, tracking.register_classifier(deployable, card.image_size, names, REGISTERED))
        caching.mark_current(stamp, key)
    version = stamp.read_text()
    registry.tag(
        REGISTERED, version, {registry.WEIGHTS: classifier.sha256, registry.FOLDER: classifier.open().parent.as_posix()}
    )
    registry.point(REGISTERED, registry.CHALLENGER, version)
    tracking.tag({"model.version": version})
    return version
