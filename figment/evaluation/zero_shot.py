"""How well a semantic matrix ranks labels: the unseen alone (ZSL), all together (GZSL), and what its rows do.

Numbers follow the published evaluation (Ben-Cohen et al. 2021): of a protocol, pictures without any of its labels are left
out; precision, recall and F1 of the k best are counted over all pictures at once.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.stats import spearmanr
from torch import Tensor

from figment.datasets.tagged import TaggedPictures
from figment.evaluation.multilabel import mean_average_precision, precision_recall_f1_at_k
from figment.label_vectors import LabelVectors, twin_free
from figment.labels import LabelSpace
from figment.training.semantic import Measure, evaluator
from models.semantic_diversity_loss import semantic_diversity
from models.semantic_matrix import Pooling, SemanticMatrix

KS = (3, 5)


def mean_average_precision_of_labelled(scores: Tensor, targets: Tensor) -> float:
    """Over the pictures that have any of the labels; a label that none has counts as 0."""
    labelled = (targets > 0).any(1)
    return mean_average_precision(scores[labelled], targets[labelled] > 0)


def measures(ks: Sequence[int] = KS, drop_unlabelled: bool = True) -> dict[str, Measure]:
    """``mAP``, and ``P@k``, ``R@k``, ``F1@k`` for each of ``ks``, all from scores and targets (N, C).

    Whether pictures without any of the labels count is where the published evaluations differ: Ben-Cohen et al. leave them
    out, Zhang et al. do not.
    """

    def at(k: int, which: str) -> Measure:
        return lambda scores, targets: getattr(precision_recall_f1_at_k(scores, targets > 0, k, drop_unlabelled), which)

    names = {"P": "precision", "R": "recall", "F1": "f1"}
    each = {f"{short}@{k}": at(k, name) for k in ks for short, name in names.items()}
    if drop_unlabelled:
        return {"mAP": mean_average_precision_of_labelled} | each
    return {"mAP": lambda scores, targets: mean_average_precision(scores, targets > 0)} | each


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
    unseen: dict[str, Tensor] = {name: columns[name] for name in ("zsl", "zsl_twin_free") if name in columns}
    jobs: list[tuple[TaggedPictures, dict[str, Tensor]]] = [
        (validation, {"validation": columns["seen"]}),
        (zsl, unseen),
        (gzsl, {"gzsl": columns["gzsl"]}),
    ]
    parts = [
        evaluator(pictures.pixels, pictures.targets, vectors.vectors, protocols, measures(ks), pooling)
        for pictures, protocols in jobs
    ]
    return lambda model: {name: value for part in parts for name, value in part(model).items()}


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
