"""The bag of tricks: the sets that its classifiers learn from, and how much of each trick they take."""

from collections.abc import Collection, Mapping, Sequence

from figment.datasets.config import RealConfig
from figment.errors import InputError
from figment.names import RESERVED, check_set_names

COMBINED, BEST, REAL = "combined", "best", "real"  # names of sets
ROUNDS, RANDOM = "rounds", "random extra"  # what rounds add to one of them, and as many images chosen by chance
FIXED = "{} at fixed size"
CLIP_UNLABELLED, CLIP_SHOTS, FUSED = "CLIP with unlabelled", "CLIP with {} shots", "{} fused with CLIP"
Shares = dict[str, int]  # images of every class by trick


def training_sets(
    tricks: Sequence[str],
    images: int,
    unions: Mapping[str, Mapping[str, int]] | None,
    fixed_size: bool,
    largest: int | None = None,
) -> dict[str, Shares]:
    """The sets that classifiers learn from, by name, each as images of every class by trick.

    Every trick alone with ``images``; then ``unions``, whose numbers are multiples of that (the paper's "all combined" and
    best sets; by default one union of everything, if there is anything to unite). ``fixed_size`` adds each union of several
    tricks again with no more than ``images`` in all, so that variety is compared and not size (a control that the paper
    lacks). Raises InputError for a union of tricks that are not made, or of more than ``largest`` times as many images (a
    quota gives all tricks the same number).
    """
    if unions is None:
        unions = {COMBINED: dict.fromkeys(tricks, 1)} if len(tricks) > 1 else {}
    sets: dict[str, Shares] = {trick: {trick: images} for trick in tricks}
    for name, multiples in unions.items():
        if not multiples:
            raise InputError(f"unions: {name!r} is empty; name tricks and how many times the images of each it takes")
        for trick, multiple in multiples.items():
            if trick not in tricks or multiple < 1:
                raise InputError(
                    f"unions.{name}: {trick}: {multiple}; expected one of {', '.join(tricks)} and a number of 1 or more"
                )
            if largest is not None and multiple > largest:
                raise InputError(
                    f"unions.{name}: {trick}: {multiple}; a quota gives every trick the same number of images: say "
                    f"{largest}, or leave the quota out"
                )
        sets[name] = {trick: images * multiple for trick, multiple in multiples.items()}
        if fixed_size and len(multiples) > 1:
            sets[FIXED.format(name)] = split_evenly(images, list(multiples))
    check_set_names(tricks, "tricks")
    fixed = {FIXED.format(name) for name in unions} if fixed_size else set()
    check_set_names(unions, "unions", (*RESERVED, *tricks, *fixed))
    return sets


def chosen_of(names: Collection[str]) -> str:
    """Of the sets the one whose classifier is looked at closer and registered: chosen before any measurement."""
    return next((name for name in (BEST, COMBINED) if name in names), next(iter(names)))


def students_of(real: RealConfig, base: str) -> list[str]:
    """The rows of the classifiers that learn from the set ``base`` and from real images: the one that is shown most last."""
    shots = f"{real.shots_name} shots"
    if not real.unlabelled:
        return [f"{base} with {shots}"] if real.shots else []
    return [f"{base} with unlabelled", *([f"{base} with unlabelled and {shots}"] if real.shots else [])]


def rows_of(real: RealConfig, base: str) -> list[str]:
    """All rows that real images add to a set's: CLIP's own, its students, and these fused with CLIP."""
    clip = [
        *([CLIP_UNLABELLED] if real.unlabelled else []),
        *([CLIP_SHOTS.format(real.shots_name)] if real.shots else []),
    ]
    return clip + [name for student in students_of(real, base) for name in (student, FUSED.format(student))]


def split_evenly(images: int, tricks: Sequence[str]) -> Shares:
    """``images`` among ``tricks``, the first ones getting one more if it does not divide."""
    share, left = divmod(images, len(tricks))
    return {trick: share + (i < left) for i, trick in enumerate(tricks)}


def most_of(sets: Mapping[str, Mapping[str, int]]) -> Shares:
    """The largest share of each trick."""
    most: Shares = {}
    for shares in sets.values():
        most |= {trick: max(count, most.get(trick, 0)) for trick, count in shares.items()}
    return most
