"""Rounds: after a first training, more images of what the classifier gets wrong, until they no longer pay.

A round adds rows to the plan under a trick of its own and changes none: the ids of the images that are there stand, a run that is
interrupted resumes, and every set that was trained on stays as it was. What is added joins what was there, and replaces nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from figment.errors import InputError
from figment.metrics.learning_curve import POINTS, LearningCurve, next_gain
from figment.planning.from_prompts import Cell
from figment.planning.planners import Planning
from figment.planning.row import Row
from figment.prompts.chat import ChatConfig
from figment.prompts.unlike import UNLIKE
from figment.types import Count, Natural, NonNegative, Number, Settings

RANDOM_TRICK = "random_extra"
MISSING_REAL, MISSING_SYNTHETIC = 0.1, 0.8  # right answers below and above which the generator lacks how a class looks
Interval = tuple[float, float, float]  # a value and its 95 % interval


class RoundsConfig(Settings):
    """At most ``max`` rounds, each with ``images`` more, of all classes together; of a class the more the more of its real
    validation images are called something else. ``oversample`` times as many are rendered. Of those that CLIP accepts the
    ``outliers`` about which the classifier is least sure are left out, and then those it is least sure of are kept.

    ``stop: auto`` ends when the next round would gain less than ``min_gain`` of top-1, by the fitted learning curve, or when
    the gains of two rounds in a row are undecided. ``control: random`` trains once more, on the same number of further images
    that are chosen by chance."""

    max: Annotated[Count, Field(le=100)] = 4
    images: Count
    stop: Literal["auto", "max"] = "auto"
    min_gain: Number = Field(0.005, gt=0, lt=1)
    oversample: Annotated[Count, Field(le=100)] = 4
    outliers: Number = Field(0.05, ge=0, lt=1)
    smoothing: NonNegative = 0.1  # error that every class is given in addition, so that each has a share
    # asked what tells a class from the one that it is taken for; prompts_per_class: 0 asks nothing
    chat: ChatConfig = ChatConfig(model="models/pocket/chat")
    prompts_per_class: Natural = 6
    control: Literal["none", "random"] = "none"


class Round(BaseModel):
    """A classifier on the real validation images, and how the images that it was trained on beyond the one before were chosen.

    ``images`` is the size of its training list; ``error`` is in [0, 1]. ``gain``: of top-1 over the round before, paired;
    ``expected``: what the fitted curve says of the round that follows. ``synthetic``: by class the share of the round's accepted
    images, which no classifier had seen, that the classifier before called by their class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    images: int
    error: Interval
    errors: dict[str, float]  # by class
    entropy: dict[str, float] = {}  # mean over the class's validation images, in bits
    gain: Interval | None = None
    expected: Interval | None = None
    budget: dict[str, int] = {}
    confused: dict[str, str] = {}
    prompts: int = 0  # that the chat model wrote
    rendered: int = 0
    accepted: int = 0
    kept: int = 0
    synthetic: dict[str, float] = {}


class History(BaseModel):
    """What ``rounds.json`` holds. ``curve`` is fitted to the rounds' errors; ``stop`` says in a sentence why there are no more.
    ``control``: the classifier of the same number of random images; its ``gain`` is that of the last round over it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: tuple[Round, ...]
    curve: LearningCurve | None = None
    stop: str
    control: Round | None = None
    validation_images: int

    @property
    def missing(self) -> list[str]:
        """The classes of which the generator lacks how they look: told from the others among its own images, not among real
        ones."""
        last = self.rounds[-1]
        return [
            name
            for name, share in last.synthetic.items()
            if share >= MISSING_SYNTHETIC and 1 - last.errors[name] <= MISSING_REAL
        ]


def check_rounds(planning: Planning, quota: bool) -> None:
    """Raise InputError for a run that cannot have rounds."""
    if not planning.planner.tops_up or not planning.prompts:
        raise InputError(
            f"rounds: planner.kind: {planning.planner.kind} cannot plan more of one class; name a trick, such as base_class"
        )
    if quota:
        raise InputError(
            "rounds: a quota gives every class as many images as another, and rounds do not; leave one out"
        )


def round_trick(number: int) -> str:
    """The trick of a round's rows."""
    return f"round_{number}"


def budgets(errors: Sequence[float], images: int, smoothing: float) -> list[int]:
    """``images`` among classes in proportion to their errors, each raised by ``smoothing``; equally where all are 0. They sum
    to ``images``: the largest remainders are rounded up."""
    weights = np.asarray(errors, float) + smoothing
    shares = images * (weights / weights.sum() if weights.sum() else np.full(len(weights), 1 / len(weights)))
    whole = np.floor(shares).astype(int)
    for place in np.argsort(whole - shares, kind="stable")[: images - whole.sum()]:
        whole[place] += 1
    return whole.tolist()


def confused_classes(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, str]:
    """For each class that real images of it are called something else, what they are called most often. ``confusion`` (C, C):
    row the true class."""
    counts = np.array(confusion)
    np.fill_diagonal(counts, 0)
    return {name: names[int(row.argmax())] for name, row in zip(names, counts, strict=True) if row.max() > 0}


def candidate_cells(
    wanted: Mapping[str, int], shares: Mapping[str, int], asked: Collection[str], first: int
) -> dict[Cell, range]:
    """The replicates of each (trick, class) that make ``wanted`` images of every class, numbered from ``first``: of the tricks in
    ``shares`` as often as these have images, half of them by prompts of a chat model where there are some (``asked``)."""
    cells: dict[Cell, range] = {}
    for name, images in wanted.items():
        weights = {**shares, **({UNLIKE: sum(shares.values())} if name in asked else {})}
        counts = budgets([float(weight) for weight in weights.values()], images, 0.0)
        cells |= {
            (trick, (name,)): range(first, first + count) for trick, count in zip(weights, counts, strict=True) if count
        }
    return cells


def in_round(rows: Iterable[Row], trick: str, number: int, parent: str) -> Iterator[Row]:
    """The rows as those of a round, or of its control."""
    return (row.model_copy(update={"trick": trick, "round": number, "parent": parent}) for row in rows)


def reason_to_stop(rounds: Sequence[Round], config: RoundsConfig) -> str:
    """Why no round follows these, as a sentence; "" if one does. The first of ``rounds`` is the first training."""
    done, last = len(rounds) - 1, rounds[-1]
    if config.stop == "auto" and done:
        if last.expected and last.expected[0] < config.min_gain:
            return (
                f"The next round would gain {100 * last.expected[0]:.1f} points by the fitted curve, less than min_gain "
                f"({100 * config.min_gain:g})."
            )
        undecided = [each.gain is not None and each.gain[1] <= 0 <= each.gain[2] for each in rounds[-2:]]
        if done > 1 and all(undecided):
            return "The gains of two rounds in a row are undecided: their intervals hold zero."
    if last.error[0] == 0:
        return "No validation image is called wrongly."
    return f"All {config.max} rounds are done." if done >= config.max else ""


def expected_gain(images: Sequence[int], wrong: np.ndarray, following: int) -> Interval | None:
    """What a round to ``following`` images would gain; None as long as a curve cannot be fitted to so few rounds."""
    return tuple(next_gain(images, wrong, following)) if len(images) >= POINTS else None  # type: ignore[return-value]
