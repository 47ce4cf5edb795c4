"""Which classes a prompt asks for together ("Diverse and Tailored Image Generation", Zhang et al. 2024)."""

from itertools import combinations_with_replacement

from figment.labels import Label, LabelSpace


def label_pairs(space: LabelSpace) -> list[tuple[Label, ...]]:
    """Each unordered pair of classes once, confusable pairs left out, and each class by itself (one label, not two).

    C classes give C (C + 1) / 2 entries less the confusable pairs, in the order of the ids.
    """
    labels = space.labels
    return [
        (labels[i],) if i == j else (labels[i], labels[j])
        for i, j in combinations_with_replacement(range(len(labels)), 2)
        if not space.are_confusable(i, j)
    ]
