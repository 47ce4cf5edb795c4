"""How much each made image counts: a calibrated head on the shots' features says how likely it shows its class."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from figment.files import atomic, write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, quality, tracking
from figment.ops.gates import Check, gate
from figment.ops.steps import step
from figment.planning.plan import count_rows, read_plan
from figment.planning.sample_weights import confidence_weight
from figment.training.banks import load_features
from figment.training.config import FewShotTrainingConfig
from figment.training.few_shot import filter_views
from figment.training.filter_head import fit_filter


@step(experiment_tracker=True)
def weigh_images(
    labels: LabelSpace,
    plan: FileRef,
    photo_features: FileRef,
    image_features: FileRef,
    training: FewShotTrainingConfig,
    seed: int,
    output: str,
) -> Annotated[FileRef, "weights"]:
    """weights.parquet, in the plan's order: image_id, label, predicted, probability of the label, weight."""
    path = Path(output) / "weights.parquet"
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        plan=plan.sha256,
        features=[photo_features.sha256, image_features.sha256],
        filter=training.filter.model_dump(mode="json"),
        seed=seed,
    )
    if not caching.is_current(path, key):
        photos, made = load_features(photo_features.open()), load_features(image_features.open())["made"]
        judge = fit_filter(filter_views(photos["shots"]), len(labels), training.filter, seed, photos.get("held_out"))
        probabilities = judge.probabilities(filter_views(made).features)
        own = probabilities.gather(1, made.labels[:, None])[:, 0]
        table = pa.table(
            {
                "image_id": read_plan(plan.open())["image_id"],
                "label": [labels.names[i] for i in made.labels.tolist()],
                "predicted": [labels.names[i] for i in probabilities.argmax(1).tolist()],
                "probability": own.double().numpy(),
                "weight": confidence_weight(own).double().numpy(),
            }
        )
        with atomic(path) as partial:
            pq.write_table(table, partial)
        numbers = {"temperature": judge.temperature, "calibration_error": judge.error_after}
        numbers |= {"calibration_error_before": judge.error_before, "mean_weight": float(confidence_weight(own).mean())}
        numbers["agreement"] = float((probabilities.argmax(1) == made.labels).double().mean())
        write_json(Path(output) / "filter.json", numbers)
        caching.mark_current(path, key)
        tracking.log_metrics("validation", numbers)
    weights = pq.read_table(path)
    gate("weights", [Check(weights.to_pandas(), quality.weight_suite(labels, count_rows(plan.open())))], Path(output))
    return FileRef.of(path)
