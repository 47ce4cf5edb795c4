"""Train the same classifier, with the same settings, on every set: only the data changes."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.datasets.config import RealConfig
from figment.datasets.labelled import has_split, open_labelled
from figment.evaluation.results import REAL
from figment.files import digest
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.synthesis.pool import Pool
from figment.training.config import TrainingConfig
from figment.training.lists import open_training_list, training_list, write_list
from figment.training.saved import WEIGHTS
from figment.training.sets import train_on
from figment.training.start import weights_key
from figment.training.train import CHECKPOINT_VERSION

Curve = list[tuple[int, dict[str, float]]]


@step(role="train", experiment_tracker=True)
def train_classifiers(
    labels: LabelSpace,
    images: FileRef,
    verdicts: FileRef,
    sets: dict[str, dict[str, int]],
    training: TrainingConfig,
    real: RealConfig,
    output: str,
) -> Annotated[Classifiers, "classifiers"]:
    """One classifier a set (images of every class by trick), and, if there are any to train on, one on real images."""
    pool, judged = Pool(images.open().parent), pq.read_table(verdicts.open())
    items = []
    for name, shares in sets.items():
        chosen = training_list(judged, shares)
        folder = Path(output) / "classifiers" / name.replace(" ", "_")
        write_list(chosen, folder)
        inputs = {"labels": labels, "images": digest(chosen.to_pylist()), "training": training}
        inputs |= weights_key(training.weights)
        curve: Curve = []
        with tracking.classifier(name):
            saved = train_on(
                name,
                caching.result_key(__name__, **inputs),
                lambda chosen=chosen, name=name: open_training_list(
                    chosen, pool, labels, training.image_size, name, training.resize, training.native_size
                ),
                labels,
                training,
                Checkpoint(folder / CHECKPOINT, checkpoint_key(CHECKPOINT_VERSION, **inputs)),
                lambda step, m, curve=curve: curve.append((step, m)),
            )
            tracking.log_curve("training", curve)
        items.append(ClassifierRef(name=name, images=saved.images, weights=FileRef.of(folder / WEIGHTS)))

    if has_split(Path(real.path), "train"):
        folder = Path(output) / "classifiers" / REAL
        data = caching.data_digest(Path(real.path), "train")
        inputs = {"labels": labels, "real": [real, data], "training": training}
        inputs |= weights_key(training.weights)
        curve = []
        with tracking.classifier(REAL):
            saved = train_on(
                REAL,
                caching.result_key(__name__, **inputs),
                lambda: open_labelled(
                    Path(real.path),
                    "train",
                    labels,
                    training.image_size,
                    real.train_per_class,
                    training.resize,
                    training.native_size,
                ),
                labels,
                training,
                Checkpoint(folder / CHECKPOINT, checkpoint_key(CHECKPOINT_VERSION, **inputs)),
                lambda step, m: curve.append((step, m)),
            )
            tracking.log_curve("training", curve)
        items.append(ClassifierRef(name=REAL, images=saved.images, weights=FileRef.of(folder / WEIGHTS)))
    return Classifiers(items=tuple(items))
