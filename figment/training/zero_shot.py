"""Train a semantic matrix on the splits that ``figment.datasets.zero_shot`` wrote, or on those and made pictures."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from figment.datasets.tagged import TaggedPictures, read_tagged
from figment.evaluation.zero_shot import columns_of, zero_shot_evaluator
from figment.images import decode, squash
from figment.label_vectors import LabelVectors
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool
from figment.training.semantic import SemanticConfig, TrainedMatrix, train_semantic_matrix


def train_zero_shot(
    splits: Path,
    space: LabelSpace,
    vectors: LabelVectors,
    config: SemanticConfig,
    twin_cosine: float = 0.8,
    state: Path | None = None,
    key: str = "",
    log: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
) -> TrainedMatrix:
    """Labels of which no training picture says anything have no place in the loss: without made pictures it ranks the seen
    ones alone. Measured after every epoch as ``zero_shot_evaluator`` does; chosen by the validation pictures."""
    train, validation, zsl, gzsl = (read_tagged(splits / name) for name in ("train", "validation", "zsl", "gzsl"))
    evaluate = zero_shot_evaluator(validation, zsl, gzsl, space, vectors, config.pooling, twin_cosine)
    known = columns_of(space, vectors)["seen"] | (train.targets > 0).any(0)
    ids = known.nonzero().flatten().tolist()
    labels = LabelVectors(tuple(vectors.names[i] for i in ids), vectors.vectors[ids])
    return train_semantic_matrix(train.pixels, train.targets[:, ids], labels, config, evaluate, state, key, log)


def made_pictures(image_ids: Iterable[str], pool: Pool, space: LabelSpace, size: int) -> TaggedPictures:
    """Pictures that were synthesised for a plan's rows, sorted by id: what a prompt names is shown, nothing else is."""
    pixels, targets = [], []
    found = (
        row for batch in pool.read(sorted(image_ids), ["image_id", "labels", "image"]) for row in batch.to_pylist()
    )
    for row in sorted(found, key=lambda row: row["image_id"]):
        pixels.append(squash(decode(row["image"]["bytes"], f"image {row['image_id']}"), size))
        targets.append([name in row["labels"] for name in space.names])
    return TaggedPictures(torch.stack(pixels), torch.tensor(targets).to(torch.int8))
