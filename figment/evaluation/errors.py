"""The worst errors: real images that a classifier is surest of and wrong about, beside what it learned from that is nearest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from figment.datasets.labelled import StreamedImages
from figment.images import data_uri, encode
from figment.validation.features import FeatureStore

NEIGHBOURS = 4  # of an error


class Neighbour(BaseModel):
    """A training image. ``similarity``: cosine of CLIP features; ``uri``: the image as data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: str
    label: str
    trick: str
    similarity: float
    uri: str


class WorstError(BaseModel):
    """A real image, what it shows and what the classifier says with which probability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str
    truth: str
    predicted: str
    probability: float
    uri: str
    neighbours: tuple[Neighbour, ...]


def explain_errors(
    logits: Tensor,
    test: StreamedImages,
    learned: Sequence[str],
    store: FeatureStore,
    names: Sequence[str],
    count: int,
) -> list[WorstError]:
    """The ``count`` worst errors on ``test`` by ``logits`` (N, C), each with the nearest of the pool's images that the model
    ``learned`` from."""
    rows = worst_errors(logits, test.labels, count)
    if not len(rows):
        return []
    scorer, wrong = store.scorer, test.subset(rows)
    seen = replace(wrong, size=scorer.size, resize="bicubic", native_size=None).load()
    near = nearest(scorer.image_features(seen.pixels).cpu(), store.by_id(learned), NEIGHBOURS)
    wanted, columns = {i for found in near for i, _ in found}, ["image_id", "image", "labels", "trick"]
    kept = {row["image_id"]: row for batch in store.pool.read(wanted, columns) for row in batch.to_pylist()}

    def neighbour(image_id: str, similarity: float) -> Neighbour:
        row = kept[image_id]
        uri = data_uri(row["image"]["bytes"], row["image"]["path"].rpartition(".")[2].replace("jpg", "jpeg"))
        return Neighbour(image_id=image_id, label=row["labels"][0], trick=row["trick"], similarity=similarity, uri=uri)

    sure, best = logits.softmax(1).max(1)
    return [
        WorstError(
            where=test.listing.where(row),
            truth=names[int(test.labels[row])],
            predicted=names[int(best[row])],
            probability=float(sure[row]),
            uri=data_uri(encode(pixels.permute(1, 2, 0).contiguous().numpy(), "png"), "png"),
            neighbours=tuple(neighbour(*pair) for pair in found),
        )
        for row, pixels, found in zip(rows.tolist(), wrong.load().pixels, near, strict=True)
    ]


def worst_errors(logits: Tensor, truth: Tensor, count: int) -> Tensor:
    """Rows (at most ``count``) of ``logits`` (N, C) that are wrong about ``truth`` (N,), the surest first."""
    sure, predicted = logits.softmax(1).max(1)
    wrong = (predicted != truth).nonzero().flatten()
    return wrong[sure[wrong].argsort(descending=True, stable=True)][:count]


def nearest(features: Tensor, learned: Mapping[str, Tensor], count: int) -> list[list[tuple[str, float]]]:
    """For each of ``features`` (K, D) the ``count`` nearest of the unit vectors ``learned`` (D,) by id, with their cosine."""
    ids = list(learned)
    similarities = features @ torch.stack([learned[i] for i in ids]).T
    best = similarities.topk(min(count, len(ids)))
    return [
        [(ids[i], value) for i, value in zip(rows, values, strict=True)]
        for rows, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
