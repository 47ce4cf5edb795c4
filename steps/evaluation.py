"""Measure every classifier, and CLIP itself, on the real test pictures: the one time they are used."""

from pathlib import Path
from typing import Annotated

from zenml import step

from figment.datasets.config import RealConfig
from figment.datasets.labelled import read_labelled
from figment.evaluation.results import Results, tabulate
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import Classifiers
from figment.ops import tracking
from figment.training.classifier import predict
from figment.training.saved import load_classifier
from figment.validation.clip import ClipConfig, ClipScorer


@step(experiment_tracker=True)
def evaluate_classifiers(
    labels: LabelSpace, classifiers: Classifiers, clip: ClipConfig, real: RealConfig, image_size: int, output: str
) -> Annotated[Results, "results"]:
    """Top-1 with intervals, per class, calibration, gains over base class and the gap closed; metrics.json for DVC,
    metrics for MLflow."""
    loaded = {item.name: load_classifier(item.weights.open().parent) for item in classifiers.items}
    resize = next(iter(loaded.values()))[1].training.resize
    test = read_labelled(Path(real.path), "test", labels, image_size, real.test_per_class, resize)
    scorer = ClipScorer(clip)
    seen_by_clip = read_labelled(Path(real.path), "test", labels, scorer.size, real.test_per_class)  # at its own size
    clip_logits = scorer.logits(seen_by_clip.pixels, scorer.text_features(labels)).cpu()
    logits = {name: predict(model, test.pixels) for name, (model, _) in loaded.items()}
    images = {item.name: item.images for item in classifiers.items}
    results = tabulate(labels, test.labels, clip_logits, logits, images)
    for row in results.rows:
        name = row.name.replace(" ", "_")
        tracking.log_metrics("evaluation", {f"top1/{name}": row.top1})
        if row.calibration_error is not None:
            tracking.log_metrics("evaluation", {f"calibration_error/{name}": row.calibration_error})
        if row.gap_closed is not None:
            tracking.log_metrics("evaluation", {f"gap_closed/{name}": row.gap_closed})
    write_json(Path(output) / "results.json", results.model_dump(mode="json"))
    write_json(Path(output) / "metrics.json", {row.name: round(row.top1, 4) for row in results.rows})
    return results
