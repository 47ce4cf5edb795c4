"""Trainer of ``semantic_matrix``: measured after every epoch; the one that validates best is kept."""

import math
from collections.abc import Iterator
from functools import partial

import pyarrow.parquet as pq
from torch import Tensor

from figment.checkpoint import Checkpoint
from figment.clip.label_vectors import make_label_vectors
from figment.datasets.tagged import read_tagged
from figment.keys import model_digest
from figment.loop import Log
from figment.training.best_on_test import save_best_on_test
from figment.training.config import SemanticConfig, SemanticTraining
from figment.training.jobs import Job, Material, Trained
from figment.training.kinds.semantic_matrix import (
    SEMANTIC_MATRIX,
    LabelledMatrix,
    SemanticSettings,
    semantic_preprocessing,
)
from figment.training.lists import multilabel_list
from figment.training.protocols import ranking_gains
from figment.training.saved import Measure, SavedModel
from figment.training.semantic import CHECKPOINT_VERSION, score_images
from figment.training.start import weights_key
from figment.training.zero_shot import train_zero_shot

FOLDER = "model"


def jobs(config: SemanticTraining, material: Material) -> Iterator[Job]:
    """One matrix, trained on the splits, which accepted images have joined."""
    assert material.splits is not None  # the pipeline sees to it
    inputs = {
        "labels": material.space,
        "splits": material.splits.sha256,
        "vectors": model_digest(config.vectors.source),
        "training": config,
        **weights_key(config.weights),
    }
    yield Job(
        "semantic_matrix",
        material.output / FOLDER,
        __name__,
        CHECKPOINT_VERSION,
        inputs,
        partial(_train, config, material),
        listed=multilabel_list(pq.read_table(material.verdicts.open())) if material.verdicts else None,
        data={"splits": material.splits.sha256},
        compared=False,
    )


def _train(config: SemanticTraining, material: Material, checkpoint: Checkpoint, log: Log) -> Trained:
    space, root = material.space, material.splits.open().parent  # type: ignore[union-attr]
    found = make_label_vectors(space, config.vectors)
    trained = train_zero_shot(root, space, found, config, checkpoint, log)
    zsl, gzsl = (read_tagged(root / name) for name in ("zsl", "gzsl"))

    def score(pixels: Tensor) -> Tensor:
        return score_images(trained.model, pixels, found.vectors, config.pooling)

    gains = ranking_gains(score, None, zsl, gzsl, space.unseen_ids)
    kept = trained.history[trained.best_epoch - 1].items()
    saved = SavedModel(
        labels=space,
        preprocessing=semantic_preprocessing(trained.model, config.image_size),
        training=(
            f"{config.model} of timm with {config.rows} principal vectors; {config.epochs} epochs, seed "
            f"{config.seed}. Any other tag can be added by its vector alone (`figment predict --tags`)."
        ),
        metrics=tuple(
            Measure(name=name, value=value)
            for name, value in sorted(kept)
            if name.startswith(("gzsl/", "zsl/")) and math.isfinite(value)
        ),
    )
    network = LabelledMatrix(trained.model, found.vectors, config.pooling)
    history = {"kept": trained.best_epoch, "gains": gains, "epochs": trained.history}
    settings = SemanticSettings(vectors=config.vectors, training=config.as_base(SemanticConfig))
    beside = partial(save_best_on_test, trained, SEMANTIC_MATRIX, network, settings, folder=material.output / FOLDER)
    return Trained(SEMANTIC_MATRIX, network, settings, saved, history, beside)
