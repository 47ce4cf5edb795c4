"""When an image passes, from the probabilities of the classes it was asked to show.

Each policy turns (C,) probabilities and the requested classes into an accept or one named reason, and the classes that
the image may be trained on as.
"""

from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.metrics.calibration import Threshold, threshold_from_negatives
from figment.types import Count, Number, Scores, Settings, Share


class Decision(NamedTuple):
    """``reason`` is one of figment.validation.verdicts.REASONS; ``predicted`` are class ids, most probable first; parents that
    were added come last."""

    reason: str
    predicted: tuple[int, ...]


class _Policy(Settings):
    by_clip: ClassVar[bool] = True  # whether CLIP gives the probabilities

    min_contrast: Share = 0.02  # standard deviation of the pixels in [0, 1]; below it is blank


class MostProbable(_Policy):
    """An image passes if each requested class has at least ``min_probability`` among all classes, and, with ``require_top1``, no
    other class has more."""

    min_probability: Share = 0.5
    require_top1: bool = True

    @property
    def rule(self) -> str:
        """In words."""
        most = ", and more than any other" if self.require_top1 else ""
        return f"the class has probability {self.min_probability:g} or more{most}"

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        best = int(probabilities.argmax())
        if self.require_top1 and best not in requested:
            return Decision("wrong_class", (best,))
        if not min(probabilities[c] for c in requested) >= self.min_probability:
            return Decision("low_probability", (best,))
        return Decision("accepted", tuple(sorted(requested, key=lambda c: -probabilities[c])))


class Top1Policy(MostProbable):
    """``MostProbable`` by CLIP."""

    kind: Literal["top1"] = "top1"
    # sigmoid: of a SigLIP, the probability that a class is there at all, whatever others are
    scores: Scores = "softmax"


class CocoPolicy(_Policy):
    """The paper's rule for MS-COCO: of the |T| most probable classes those above the threshold must be exactly T.

    Equal probabilities are two classes, unlike in the published code, where they became one class twice.
    """

    kind: Literal["coco"] = "coco"
    min_probability: Share = 0.5

    @property
    def rule(self) -> str:
        """In words."""
        return f"what was asked for has a probability above {self.min_probability:g}, and nothing else has more"

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        top = ranking(probabilities)[: len(requested)]
        predicted = tuple(int(c) for c in top if probabilities[c] > self.min_probability)
        return Decision(_reason(requested, predicted), predicted)


class NusPolicy(_Policy):
    """The paper's rule for NUS-WIDE: every requested class must be among the ``top_k`` most probable.

    Others among them above ``extra_probability`` become labels too, and so do all parents of what is there.
    """

    kind: Literal["nus"] = "nus"
    top_k: Count = 7
    extra_probability: Share = 0.1

    @property
    def rule(self) -> str:
        """In words."""
        return f"what was asked for is among the {self.top_k} most probable classes"

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        top = [int(c) for c in ranking(probabilities)[: self.top_k]]
        predicted = [c for c in top if c in requested or probabilities[c] > self.extra_probability]
        if not requested <= set(predicted):
            return Decision("missing_label", tuple(predicted))
        parents = {parent for c in predicted for parent in space.ancestors(c)} - set(predicted)
        return Decision("accepted", (*predicted, *sorted(parents)))


class CalibratedPolicy(_Policy):
    """Every requested class must reach its own threshold (``figment.metrics.calibration``), by class name.

    With a ``target_precision`` the thresholds come from the images that are checked (``settle``): so large a share of the
    images that pass for a class is to show it, with 95 % confidence. Either that or ``thresholds`` is given.
    """

    kind: Literal["calibrated"] = "calibrated"
    target_precision: Number | None = Field(None, gt=0, lt=1)
    thresholds: dict[str, Threshold] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.thresholds) == bool(self.target_precision):
            found = (
                "both target_precision and thresholds" if self.thresholds else "neither target_precision nor thresholds"
            )
            raise ValueError(
                f"{found} are given; give target_precision, such as 0.9, and the thresholds are worked out"
            )
        return self

    @property
    def rule(self) -> str:
        """In words."""
        return "each class that was asked for reaches a threshold of its own"

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        for c in requested:
            if space.names[c] not in self.thresholds:
                raise InputError(
                    f"thresholds: none for class {space.names[c]!r}; calibrate all classes that images are asked for"
                )
        predicted = tuple(
            int(c)
            for c in ranking(probabilities)
            if c in requested and probabilities[c] >= self.thresholds[space.names[c]].value
        )
        return Decision("accepted" if len(predicted) == len(requested) else "missing_label", predicted)


Policy = Top1Policy | CocoPolicy | NusPolicy | CalibratedPolicy
AcceptancePolicy = Annotated[Policy, Field(discriminator="kind")]


def ranking(probabilities: np.ndarray) -> np.ndarray:
    """(C,) class ids, most probable first, equals in the order of their ids."""
    return np.argsort(-probabilities, kind="stable")


def _reason(requested: frozenset[int], predicted: tuple[int, ...]) -> str:
    if not set(predicted) <= requested:
        return "other_label"
    return "accepted" if len(predicted) == len(requested) else "missing_label"


def is_settled(policy: Policy) -> bool:
    """Whether it can decide as it is, without images to find thresholds from."""
    return not isinstance(policy, CalibratedPolicy) or bool(policy.thresholds)


def settle(policy: Policy, presence: np.ndarray, requested: np.ndarray, space: LabelSpace) -> Policy:
    """``policy`` with the thresholds for its target precision, if it has one, from ``presence`` and ``requested`` (N, C) as
    ``calibrate`` takes them; any other as it is."""
    if isinstance(policy, CalibratedPolicy) and policy.target_precision:
        thresholds = calibrate(presence, requested, space, policy.target_precision)
        return CalibratedPolicy(thresholds=thresholds, min_contrast=policy.min_contrast)
    return policy


def calibrate(
    presence: np.ndarray,
    requested: np.ndarray,
    space: LabelSpace,
    target_precision: float,
    confidence: float = 0.95,
) -> dict[str, Threshold]:
    """A threshold for each class from the generated images alone: other classes' images are its negatives.

    ``presence`` (N, C) are ``presence_probabilities``, ``requested`` (N, C) bool. A class's negatives are the images that
    asked neither for it, nor for a class it is confusable with, nor for its parents, children or their like.
    """
    kin = _kin(space)
    thresholds = {}
    for c, name in enumerate(space.names):
        own, related = requested[:, c], requested[:, kin[c]].any(1)
        thresholds[name] = threshold_from_negatives(
            presence[own, c], presence[~related, c], target_precision, confidence
        )
    return thresholds


def _kin(space: LabelSpace) -> np.ndarray:
    """(C, C) bool: whether an image of one may well show the other: the same, confusable, or one above the other."""
    kin = np.eye(len(space), dtype=bool)
    for c in range(len(space)):
        kin[c, list(space.ancestors(c))] = True
    for pair in space.confusable:
        first, second = (space.id_of(name) for name in pair)
        kin[first, second] = True
    return kin | kin.T
