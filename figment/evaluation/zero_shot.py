"""How well a semantic matrix ranks labels: the unseen alone (ZSL), all together (GZSL), and what its rows do.

Numbers follow the published evaluation (Ben-Cohen et al. 2021): of a protocol, pictures without any of its labels are left
out; precision, recall and F1 of the k best are counted over all pictures at once.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from scipy.stats import spearmanr
from torch import Tensor

from figment.datasets.tagged import TaggedPictures
from figment.evaluation.multilabel import mean_average_precision, precision_recall_f1_at
from figment.label_vectors import LabelVectors, twin_free
from figment.labels import LabelSpace
from figment.training.semantic import score_pictures
from models.semantic_diversity_loss import semantic_diversity
from models.semantic_matrix import Pooling, SemanticMatrix

KS = (3, 5)
AT_A_TIME = 256  # pictures

Score = Callable[[Tensor], Tensor]  # pictures (N, 3, S, S) uint8 to scores (N, C) of all labels


def measures(scores: Tensor, targets: Tensor, ks: Sequence[int] = KS, drop_unlabelled: bool = True) -> dict[str, float]:
    """``mAP``, in which a label that no picture has counts as 0, and ``P@k``, ``R@k``, ``F1@k`` for each of ``ks``, from
    scores and targets (N, C).

    Whether pictures without any of the labels count is where the published evaluations differ: Ben-Cohen et al. leave them
    out, Zhang et al. do not.
    """
    shown = targets > 0
    labelled = shown.any(1)
    if drop_unlabelled and not labelled.all():
        scores, shown = scores[labelled], shown[labelled]
    found = {"mAP": mean_average_precision(scores, shown)}
    for k, counted in precision_recall_f1_at(scores, shown, ks).items():
        found |= {f"P@{k}": counted.precision, f"R@{k}": counted.recall, f"F1@{k}": counted.f1}
    return found


def measures_under(
    protocols: Mapping[str, Tensor],
    scores: Tensor,
    targets: Tensor,
    ks: Sequence[int] = KS,
    drop_unlabelled: bool = True,
) -> dict[str, float]:
    """``measures`` of each protocol as ``PROTOCOL/MEASURE``: ``{"zsl": unseen (C,) boolean}`` says which labels it ranks."""
    return {
        f"{protocol}/{name}": value
        for protocol, columns in protocols.items()
        for name, value in measures(_columns(scores, columns), _columns(targets, columns), ks, drop_unlabelled).items()
    }


def _columns(table: Tensor, columns: Tensor) -> Tensor:
    return table if columns.all() else table[:, columns]


def both_scores(zsl: TaggedPictures, gzsl: TaggedPictures) -> Callable[[Score], tuple[Tensor, Tensor]]:
    """A function that gives the scores of the pictures of ``zsl`` and of ``gzsl``, one of both sets scored once: as a rule
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


def _digests(pixels: Tensor) -> list[bytes]:
    return [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pixels.numpy()]


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
    validation: TaggedPictures,
    zsl: TaggedPictures,
    gzsl: TaggedPictures,
    space: LabelSpace,
    vectors: LabelVectors,
    pooling: Pooling = "max",
    twin_cosine: float = 0.8,
    ks: Sequence[int] = KS,
) -> Callable[[SemanticMatrix], dict[str, float]]:
    """A function that measures a model as ``PROTOCOL/MEASURE``: ``validation`` (seen labels; what chooses the epoch),
    ``zsl``, ``zsl_twin_free`` and ``gzsl``."""
    columns = columns_of(space, vectors, twin_cosine)
    unseen = {name: mask for name, mask in columns.items() if name in ("zsl", "zsl_twin_free")}
    both = both_scores(zsl, gzsl)

    def evaluate(model: SemanticMatrix) -> dict[str, float]:
        def score(pixels: Tensor) -> Tensor:
            return score_pictures(model, pixels, vectors.vectors, pooling)

        validated = measures_under({"validation": columns["seen"]}, score(validation.pixels), validation.targets, ks)
        of_zsl, of_gzsl = both(score)
        return (
            validated
            | measures_under(unseen, of_zsl, zsl.targets, ks)
            | measures_under({"gzsl": columns["gzsl"]}, of_gzsl, gzsl.targets, ks)
        )

    return evaluate


class SpreadCorrelation(NamedTuple):
    """Spearman's rank correlation of a picture's row spread with its tags' diversity, over all pictures and over those with
    ``tags`` two or more; NaN where either never varies."""

    all: float
    with_two_or_more: float


@torch.inference_mode()
def spread_correlation(
    model: SemanticMatrix, pictures: TaggedPictures, vectors: LabelVectors, batch_size: int = 256
) -> SpreadCorrelation:
    """Whether diverse pictures get diverse rows, the paper's claim (sec. 3.1).

    Row spread is the mean of 1 - cosine over the pairs of rows: the rows' lengths, which the loss sets, do not count.
    The number of tags is a confounder over all pictures (one tag has diversity 0), less so over those with several.
    """
    model.eval()
    device = model.embedding.weight.device
    spread = torch.cat(
        [direction_spread(model(part.to(device).float() / 255)).cpu() for part in pictures.pixels.split(batch_size)]
    )
    shown = pictures.targets > 0
    diversity = semantic_diversity(shown, vectors.vectors)
    several = shown.sum(1) > 1
    return SpreadCorrelation(_spearman(spread, diversity), _spearman(spread[several], diversity[several]))


def direction_spread(matrix: Tensor) -> Tensor:
    """(B,): the mean of 1 - cosine over the pairs of rows of matrices (B, M, D); 0 for a single row."""
    rows = matrix.shape[1]
    if rows == 1:
        return matrix.new_zeros(len(matrix))
    directions = torch.nn.functional.normalize(matrix, dim=2)
    return (rows**2 - directions.sum(1).square().sum(1)) / (rows * (rows - 1))


def _spearman(first: Tensor, second: Tensor) -> float:
    if len(first) < 3 or first.unique().numel() < 2 or second.unique().numel() < 2:
        return float("nan")
    return float(spearmanr(first.numpy(), second.numpy()).statistic)


def _of(vectors: LabelVectors, ids: Sequence[int]) -> LabelVectors:
    return LabelVectors(tuple(vectors.names[i] for i in ids), vectors.vectors[list(ids)])
