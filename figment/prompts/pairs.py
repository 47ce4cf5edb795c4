"""Which classes a prompt asks for together ("Diverse and Tailored Image Generation", Zhang et al. 2024)."""

from itertools import combinations, combinations_with_replacement

from figment.labels import Label, LabelSpace


def label_pairs(space: LabelSpace, most: int = 2) -> list[tuple[Label, ...]]:
    """Each unordered pair of classes once, confusable pairs left out, and each class by itself (one label, not two); then all
    sets of three classes, and so on up to ``most``, of which no two are confusable.

    C classes give C (C + 1) / 2 entries less the confusable pairs, in the order of the ids.
    """
    labels, ids = space.labels, range(len(space))
    pairs = [
        (labels[i],) if i == j else (labels[i], labels[j])
        for i, j in combinations_with_replacement(ids, 2)
        if most > 1 or i == j
        if not space.are_confusable(i, j)
    ]
    larger = [
        tuple(labels[i] for i in chosen)
        for size in range(3, most + 1)
        for chosen in combinations(ids, size)
        if not any(space.are_confusable(i, j) for i, j in combinations(chosen, 2))
    ]
    return [*pairs, *larger]
