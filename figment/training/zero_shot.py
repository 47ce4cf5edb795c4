"""Train a semantic matrix on the splits that ``figment.datasets.zero_shot`` wrote, or on those and made images."""

from pathlib import Path

from figment.checkpoint import Checkpoint
from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import TaggedImages, read_tagged
from figment.labels import LabelSpace
from figment.loop import Log
from figment.training.config import SemanticConfig, SemanticTraining
from figment.training.protocols import columns_of, zero_shot_evaluator
from figment.training.semantic import TrainedMatrix, train_semantic_matrix


def train_zero_shot(
    splits: Path,
    space: LabelSpace,
    vectors: LabelVectors,
    config: SemanticTraining,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda epoch, row: None,
) -> TrainedMatrix:
    """Labels of which no training image says anything have no place in the loss: without made images it ranks the seen
    ones alone. Measured after every epoch as ``zero_shot_evaluator`` does; chosen by the validation images."""
    train, validation, zsl, gzsl = (read_tagged(splits / name) for name in ("train", "validation", "zsl", "gzsl"))
    evaluate = zero_shot_evaluator(validation, zsl, gzsl, space, vectors, config)
    known = columns_of(space, vectors)["seen"] | (train.targets > 0).any(0)
    ids = known.nonzero().flatten().tolist()
    labels = LabelVectors(tuple(vectors.names[i] for i in ids), vectors.vectors[ids])
    return train_semantic_matrix(
        TaggedImages(train.pixels, train.targets[:, ids]),
        labels,
        config.as_base(SemanticConfig),
        evaluate,
        checkpoint,
        log,
    )
