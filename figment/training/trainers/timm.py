"""Trainer of ``timm``: the same network with the same settings on every set, and on the real images to train on, if any."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from figment.checkpoint import Checkpoint
from figment.datasets.kinds import LabelledData
from figment.datasets.labelled import StreamedImages, has_split, open_labelled
from figment.keys import data_digest
from figment.loop import Log
from figment.planning.bag_of_tricks import REAL
from figment.synthesis.pool import Pool
from figment.training.config import TrainingConfig
from figment.training.jobs import Job, Material, Trained
from figment.training.kinds.timm_classifier import TIMM, timm_preprocessing
from figment.training.lists import list_digest, open_training_list, training_list
from figment.training.saved import SavedModel
from figment.training.start import weights_key
from figment.training.train import CHECKPOINT_VERSION, train_classifier
from figment.validation.verdicts import LISTED


def jobs(config: TrainingConfig, material: Material) -> Iterator[Job]:
    """A classifier for each set of accepted images, and one for real images, if there are any to train on."""
    assert isinstance(material.data, LabelledData)  # the pipeline sees to it
    assert material.images is not None
    assert material.verdicts is not None
    judged = pq.read_table(material.verdicts.open(), columns=LISTED)
    pool = Pool(material.images.open().parent)
    sizes: dict[str, Any] = {"resize": config.resize, "native_size": config.native_size}
    for name, shares in material.sets.items():
        chosen = training_list(judged, shares)
        images = partial(open_training_list, chosen, pool, material.space, config.image_size, name, **sizes)
        yield job(name, config, material, images, {"images": list_digest(chosen)}, chosen)
    real = material.data.real
    if has_split(Path(real.path), "train"):
        where = (Path(real.path), "train", material.space, config.image_size, real.train_per_class)
        images = partial(open_labelled, *where, **sizes)
        yield job(REAL, config, material, images, {"real": [real, data_digest(Path(real.path), "train")]})


def job(
    name: str,
    config: TrainingConfig,
    material: Material,
    images: Callable[[], StreamedImages],
    data: dict[str, Any],
    listed: pa.Table | None = None,
) -> Job:
    """A classifier of that ``name`` on ``images``, which ``data`` decides; ``listed`` names them where they were generated."""

    def train(checkpoint: Checkpoint, log: Log) -> Trained:
        history: list[tuple[int, dict[str, float]]] = []

        def note(step: int, metrics: dict[str, float]) -> None:
            history.append((step, metrics))
            log(step, metrics)

        learned_from = images().load_if_it_fits()
        network = train_classifier(learned_from, len(material.space), config, note, name, checkpoint)
        saved = SavedModel(
            labels=material.space,
            preprocessing=timm_preprocessing(config),
            images=len(learned_from),
            training=described(config),
        )
        return Trained(TIMM, network, config, saved, history)

    inputs = {"labels": material.space, **data, "training": config, **weights_key(config.weights)}
    return Job(name, folder_of(material, name), __name__, CHECKPOINT_VERSION, inputs, train, listed)


def folder_of(material: Material, name: str) -> Path:
    return material.output / "classifiers" / name.replace(" ", "_")


def described(config: TrainingConfig) -> str:
    """A sentence on the network and its training."""
    length = f"{config.steps} steps" if config.steps else f"{config.epochs} epochs"
    return (
        f"{config.model} of timm from random weights, stem {config.stem}; {length} of {config.batch_size}, AdamW "
        f"{config.learning_rate:g}, seed {config.seed}."
    )
