"""Measure every classifier, and CLIP itself, on the real test images, the one time they are used."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from figment.datasets.kinds import FewShotData, LabelledData
from figment.evaluation import few_shot, labelled
from figment.evaluation.few_shot_results import FewShotResults
from figment.evaluation.plots import write_plots
from figment.evaluation.results import Results
from figment.files import atomic, write_json
from figment.keys import data_digest, model_digest
from figment.labels import LabelSpace
from figment.manifests import Classifiers, FileRef, Prepared
from figment.ops import tracking
from figment.ops.caching import cached
from figment.ops.steps import step
from figment.reading import read_artifact
from figment.recipes.config import AnyRecipe
from figment.training.features import photo_features
from figment.training.histories import HISTORY
from figment.training.saved import Measure, add_metrics
from figment.training.trainers.few_shot_head import views_of

Evaluated = tuple[FileRef, FileRef]


@step(role="look", experiment_tracker=True)
def evaluate_classifiers(
    recipe: AnyRecipe,
    labels: LabelSpace,
    classifiers: Classifiers,
    data: Prepared,
    plan: FileRef | None = None,
    images: FileRef | None = None,
) -> tuple[Annotated[FileRef, "results"], Annotated[FileRef, "deployed"]]:
    """results.json or few_shot.json: measures with intervals; metrics.json for DVC, metrics for MLflow, notes in model.json. And
    the weights to register, chosen before anything was measured. A classifier of images with several classes was measured as it
    was trained: its history.json has the numbers."""
    if isinstance(recipe.dataset, LabelledData):
        assert images is not None  # there always are some
        return evaluate_labelled(recipe, labels, classifiers, images)
    if isinstance(recipe.dataset, FewShotData):
        return evaluate_few_shot(recipe, labels, classifiers, data, plan, images)
    weights = classifiers.items[0].weights
    return FileRef.of(weights.open().with_name(HISTORY)), weights


def evaluate_labelled(recipe: AnyRecipe, labels: LabelSpace, classifiers: Classifiers, images: FileRef) -> Evaluated:
    """Top-1 with intervals, per class, calibration, gains over base class and the gap closed; the diversity ledger; the map of
    real and synthetic features; the worst errors of the classifier that is registered: of the combined set, or the only trick."""
    output, real, clip = Path(recipe.output), recipe.dataset.real, recipe.clip
    file, picture = output / "results.json", output / "feature_map.png"
    bench = labelled.Bench(labels, real, clip, images)
    inputs = {
        "labels": labels,
        "classifiers": classifiers,
        "images": images.sha256,
        "clip": [clip, model_digest(clip.model)],
        "real": [real, *(data_digest(Path(real.path), split) for split in ("train", "test"))],
    }

    def measure() -> None:
        results, features_drawn = bench.measure(classifiers)
        with atomic(picture) as partial:
            features_drawn.save(partial, "PNG")
        write_json(file, results.model_dump(mode="json"))

    if not picture.is_file():
        file.unlink(missing_ok=True)
    results = read_artifact(cached(file, labelled.__name__, inputs, measure), Results)
    chosen = classifiers[results.confusion_of]

    def explain() -> None:
        write_json(output / "errors.json", [error.model_dump() for error in bench.explain(chosen)])

    cached(output / "errors.json", labelled.__name__, {**inputs, "of": chosen.name}, explain)
    found = {row.name: labelled.numbers(row, results) for row in results.rows}
    note(classifiers, found, lambda name: labelled.measures(results[name], results))
    tracking.log_headline(
        {"accuracy": results[chosen.name].top1},
        [{"trained on": row.name, "images": row.images, **found[row.name]} for row in results.rows],
    )
    tracking.log_file(picture)
    tracking.log_confusion(results.confusion, results.labels)
    write_json(output / "metrics.json", {row.name: round(row.top1, 4) for row in results.rows})
    write_plots(results, chosen.weights.open().parent, output)
    return FileRef.of(file), chosen.weights


def evaluate_few_shot(
    recipe: AnyRecipe,
    labels: LabelSpace,
    heads: Classifiers,
    data: Prepared,
    plan: FileRef | None,
    images: FileRef | None,
) -> Evaluated:
    """Macro accuracy on every test set, with intervals and gains over the photos alone; the diversity ledger."""
    assert data.photos is not None  # the data stage drew them
    output, photos = Path(recipe.output), recipe.dataset
    features = photo_features(labels, photos, data.photos, output, views_of(recipe.training, recipe.seed), cached)
    bench = few_shot.Bench(labels, photos, features, recipe.clip, output, cached)
    results: FewShotResults = bench.measure(heads, plan, images, data.photos)
    rows = {row.name: few_shot.numbers(row, results) for row in results.rows}
    note(heads, rows, lambda name: few_shot.measures(results[name], results))
    first = next(iter(rows[results.deployed].values()))
    tracking.log_headline({"accuracy": first}, [{"method": name, **found} for name, found in rows.items()])
    metrics = {f"{row.name}/{test}": found.value for row in results.rows for test, found in row.tests.items()}
    write_json(output / "few_shot.json", results.model_dump(mode="json"))
    write_json(output / "metrics.json", {name: round(value, 4) for name, value in metrics.items()})
    return FileRef.of(output / "few_shot.json"), heads[results.deployed].weights


def note(
    classifiers: Classifiers, numbers: Mapping[str, dict[str, float]], measures: Callable[[str], Sequence[Measure]]
) -> None:
    """The numbers of each classifier to MLflow, its measures into its model.json."""
    for item in classifiers.items:
        with tracking.classifier(item.name):
            tracking.log_metrics("evaluation", numbers[item.name])
        add_metrics(item.weights.open().parent, measures(item.name))
