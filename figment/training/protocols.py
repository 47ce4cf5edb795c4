"""How well a model ranks labels: the seen, the unseen alone (ZSL), all together (GZSL).

Numbers follow the published evaluation (Ben-Cohen et al. 2021): of a protocol, images without any of its labels are left
out; precision, recall and F1 of the k best are counted over all images at once.
"""

import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from figment.clip.label_vectors import LabelVectors, twin_free
from figment.datasets.tagged import TaggedImages
from figment.labels import LabelSpace
from figment.metrics.accuracy import map_difference
from figment.metrics.multilabel import measures_under
from figment.training.config import SemanticTraining
from figment.training.semantic import score_images
from models.semantic_matrix import SemanticMatrix

AT_A_TIME = 256  # images

Score = Callable[[Tensor], Tensor]  # images (N, 3, S, S) uint8 to scores (N, C) of all labels


def both_scores(zsl: TaggedImages, gzsl: TaggedImages) -> Callable[[Score], tuple[Tensor, Tensor]]:
    """A function that gives the scores of the images of ``zsl`` and of ``gzsl``, one of both sets scored once: as a rule
    ``zsl`` holds those of ``gzsl`` that have an unseen label."""
    known = {digest: row for row, digest in enumerate(_digests(gzsl.pixels))}
    rows = torch.tensor([known.get(digest, -1) for digest in _digests(zsl.pixels)], dtype=torch.long)
    others = (rows < 0).nonzero().flatten()

    def scores(score: Score) -> tuple[Tensor, Tensor]:
        of_gzsl = score(gzsl.pixels)
        of_zsl = of_gzsl[rows]
        for part in others.split(AT_A_TIME) if len(others) else ():
            of_zsl[part] = score(zsl.pixels[part])
        return of_zsl, of_gzsl

    return scores


def ranking_gains(
    score: Score, rival: Score | None, zsl: TaggedImages, gzsl: TaggedImages, unseen_ids: Sequence[int]
) -> dict[str, tuple[float, float, float]]:
    """Mean average precision of ``score`` minus that of ``rival``, or of a random ranking, over the labels that have a positive:
    by protocol (``zsl`` ranks the unseen labels, ``gzsl`` all) the value and its paired 95 % interval. A protocol that shows none
    of its labels is left out."""
    both = both_scores(zsl, gzsl)
    dice = torch.Generator().manual_seed(0)
    found = {}
    ours, theirs = both(score), both(rival) if rival else (None, None)
    for name, own, other, images in zip(("zsl", "gzsl"), ours, theirs, (zsl, gzsl), strict=True):
        ranked = list(unseen_ids) if name == "zsl" else list(range(own.shape[1]))
        other = torch.rand(own.shape, generator=dice) if other is None else other
        gain = map_difference(own[:, ranked], other[:, ranked], (images.targets[:, ranked] > 0).int())
        if math.isfinite(gain.low):  # it is not where no label of the protocol has a positive
            found[name] = (gain.top1, gain.low, gain.high)
    return found


def _digests(pixels: Tensor) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels.numpy()]


def columns_of(space: LabelSpace, vectors: LabelVectors, twin_cosine: float = 0.8) -> dict[str, Tensor]:
    """(C,) boolean for each protocol: ``seen``, ``zsl`` the unseen, ``zsl_twin_free`` those of them without a twin among
    the seen (if two or more and not all: a single label ranks nothing), ``gzsl`` all."""
    seen = torch.zeros(len(space), dtype=torch.bool)
    seen[list(space.seen_ids)] = True
    names = twin_free(_of(vectors, space.unseen_ids), _of(vectors, space.seen_ids), twin_cosine)
    lonely = torch.tensor([name in names for name in space.names])
    found = {"seen": seen, "zsl": ~seen, "gzsl": torch.ones_like(seen)}
    return found | ({"zsl_twin_free": lonely} if 1 < int(lonely.sum()) < int((~seen).sum()) else {})


def zero_shot_evaluator(
    validation: TaggedImages,
    zsl: TaggedImages,
    gzsl: TaggedImages,
    space: LabelSpace,
    vectors: LabelVectors,
    config: SemanticTraining,
) -> Callable[[SemanticMatrix], dict[str, float]]:
    """A function that measures a model as ``PROTOCOL/MEASURE``: ``validation`` (seen labels; what chooses the epoch),
    ``zsl``, ``zsl_twin_free`` and ``gzsl``."""
    columns = columns_of(space, vectors, config.twin_cosine)
    unseen = {name: mask for name, mask in columns.items() if name in ("zsl", "zsl_twin_free")}
    both = both_scores(zsl, gzsl)

    def evaluate(model: SemanticMatrix) -> dict[str, float]:
        def score(pixels: Tensor) -> Tensor:
            return score_images(model, pixels, vectors.vectors, config.pooling)

        validated = measures_under(
            {"validation": columns["seen"]}, score(validation.pixels), validation.targets, config.ks
        )
        of_zsl, of_gzsl = both(score)
        return (
            validated
            | measures_under(unseen, of_zsl, zsl.targets, config.ks)
            | measures_under({"gzsl": columns["gzsl"]}, of_gzsl, gzsl.targets, config.ks)
        )

    return evaluate


def _of(vectors: LabelVectors, ids: Sequence[int]) -> LabelVectors:
    return LabelVectors(tuple(vectors.names[i] for i in ids), vectors.vectors[list(ids)])
