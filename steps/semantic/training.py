"""Train the semantic matrix; measure it after every epoch; keep the one that validates best."""

import math
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
from torch import Tensor

from figment.checkpoint import CHECKPOINT, Checkpoint
from figment.clip.config import LabelVectorConfig
from figment.clip.label_vectors import make_label_vectors
from figment.datasets.tagged import read_tagged
from figment.files import write_json
from figment.keys import checkpoint_key
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.training.best_on_test import save_best_on_test
from figment.training.config import SemanticConfig
from figment.training.kinds.semantic_matrix import (
    SEMANTIC_MATRIX,
    LabelledMatrix,
    SemanticSettings,
    semantic_preprocessing,
)
from figment.training.lists import multilabel_list, write_list
from figment.training.protocols import ranking_gains
from figment.training.saved import WEIGHTS, Measure, Provenance, SavedModel, save_model
from figment.training.semantic import CHECKPOINT_VERSION, score_images
from figment.training.start import weights_key
from figment.training.zero_shot import train_zero_shot


@step(role="train", experiment_tracker=True)
def train_matrix(
    labels: LabelSpace,
    splits: FileRef,
    vectors: LabelVectorConfig,
    training: SemanticConfig,
    twin_cosine: float,
    output: str,
    verdicts: FileRef | None = None,
) -> Annotated[FileRef, "model"]:
    """``output``/model: weights, card, and history.json with every epoch's measures. Killed, the next run goes on after the
    last epoch that was finished."""
    folder = Path(output) / "model"
    inputs = {
        "labels": labels,
        "splits": splits.sha256,
        "vectors": [vectors, caching.model_digest(vectors.source)],
        "training": training,
        "twin_cosine": twin_cosine,
    }
    inputs |= weights_key(training.weights)
    key, weights = caching.result_key(__name__, **inputs), folder / WEIGHTS
    checkpoint = Checkpoint(folder / CHECKPOINT, checkpoint_key(CHECKPOINT_VERSION, **inputs))
    if verdicts:
        write_list(multilabel_list(pq.read_table(verdicts.open())), folder)
    if not caching.is_current(weights, key):
        found = make_label_vectors(labels, vectors)

        def log(epoch: int, row: dict[str, float]) -> None:
            tracking.log_metrics("training", row, epoch)

        trained = train_zero_shot(splits.open().parent, labels, found, training, twin_cosine, checkpoint, log)
        zsl, gzsl = (read_tagged(splits.open().parent / name) for name in ("zsl", "gzsl"))

        def score(pixels: Tensor) -> Tensor:
            return score_images(trained.model, pixels, found.vectors, training.pooling)

        gains = ranking_gains(score, None, zsl, gzsl, labels.unseen_ids)
        write_json(folder / "history.json", {"kept": trained.best_epoch, "gains": gains, "epochs": trained.history})
        kept = trained.history[trained.best_epoch - 1].items()
        saved = SavedModel(
            labels=labels,
            preprocessing=semantic_preprocessing(trained.model, training.image_size),
            training=(
                f"{training.model} of timm with {training.rows} principal vectors; {training.epochs} epochs, seed "
                f"{training.seed}. Any other tag can be added by its vector alone (`figment predict --tags`)."
            ),
            metrics=tuple(
                Measure(name=name, value=value)
                for name, value in sorted(kept)
                if name.startswith(("gzsl/", "zsl/")) and math.isfinite(value)
            ),
            provenance=Provenance(key=key, data={"splits": splits.sha256}),
        )
        settings = SemanticSettings(vectors=vectors, training=training)
        network = LabelledMatrix(trained.model, found.vectors, training.pooling)
        save_model(SEMANTIC_MATRIX, network, settings, saved, folder)
        save_best_on_test(trained, SEMANTIC_MATRIX, network, settings, saved, folder)
        caching.mark_current(weights, key)
    checkpoint.path.unlink(missing_ok=True)
    return FileRef.of(weights)
