"""What the multi-label measures of ``figment.metrics.multilabel`` are called."""

from collections.abc import Sequence

KS = (3, 5)  # labels of an image that precision, recall and F1 are given for, unless others are asked for


def names_of_measures(ks: Sequence[int] = KS) -> list[str]:
    """What ``measures`` gives."""
    return ["mAP", *(f"{name}@{k}" for k in ks for name in ("P", "R", "F1"))]
