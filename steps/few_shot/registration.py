"""The few-shot classifier, backbone and head together, enters the MLflow registry with its signature."""

from pathlib import Path
from typing import Annotated

from figment.evaluation.few_shot_results import FewShotResults
from figment.files import write_text
from figment.manifests import Classifiers
from figment.ops import caching, registry, tracking
from figment.ops.steps import step
from figment.training.backbone import load_backbone
from figment.training.saved_few_shot import DeployableHead, load_head

REGISTERED = "figment-few-shot"


@step(experiment_tracker=True)
def register_head(heads: Classifiers, results: FewShotResults, output: str) -> Annotated[str, "model_version"]:
    """The deployed method's classifier, chosen before anything was measured, as ``challenger``. The same weights are
    registered once."""
    chosen = heads[results.deployed]
    stamp = Path(output) / "registered.txt"
    key = caching.key_of(weights=chosen.weights.sha256)
    if not (caching.is_current(stamp, key) and registry.is_registered(REGISTERED, stamp.read_text())):
        head, card = load_head(chosen.weights.open().parent)
        backbone = load_backbone(card.backbone.model_copy(update={"device": "cpu"}))
        size = card.backbone.image_size
        deployable = DeployableHead(backbone, head)
        write_text(stamp, tracking.register_classifier(deployable, size, card.labels, REGISTERED))
        caching.mark_current(stamp, key)
    version = stamp.read_text()
    registry.tag(
        REGISTERED,
        version,
        {registry.WEIGHTS: chosen.weights.sha256, registry.FOLDER: chosen.weights.open().parent.as_posix()},
    )
    registry.point(REGISTERED, registry.CHALLENGER, version)
    tracking.tag({"model.version": version})
    return version
