"""When a multi-label picture passes, from its grouping-softmax probabilities: the paper's two rules and a calibrated one.

Each policy turns (C,) probabilities and the requested classes into an accept or one named reason, and the classes that
the picture may be trained on as.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.metrics.calibration import Threshold, threshold_from_negatives
from figment.types import Count, Number, Settings, Share

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("accepted", pa.bool_()),
        ("reason", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("predicted", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float64())),
        ("contrast", pa.float64()),
    ]
)
REASONS = ("accepted", "unsafe", "blank", "missing_label", "other_label")


class Decision(NamedTuple):
    """``predicted`` are class ids, most probable first; parents that were added come last."""

    reason: str
    predicted: tuple[int, ...]


class _Policy(Settings):
    min_contrast: Share = 0.02  # standard deviation of the pixels in [0, 1]; below it is blank


class CocoPolicy(_Policy):
    """The paper's rule for MS-COCO: of the |T| most probable classes those above the threshold must be exactly T.

    Equal probabilities are two classes, unlike in the published code, where they became one class twice.
    """

    policy: Literal["coco"] = "coco"
    min_probability: Share = 0.5

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        top = ranking(probabilities)[: len(requested)]
        predicted = tuple(int(c) for c in top if probabilities[c] > self.min_probability)
        return Decision(_reason(requested, predicted), predicted)


class NusPolicy(_Policy):
    """The paper's rule for NUS-WIDE: every requested class must be among the ``top_k`` most probable.

    Others among them above ``extra_probability`` become labels too, and so do all parents of what is there.
    """

    policy: Literal["nus"] = "nus"
    top_k: Count = 7
    extra_probability: Share = 0.1

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        top = [int(c) for c in ranking(probabilities)[: self.top_k]]
        predicted = [c for c in top if c in requested or probabilities[c] > self.extra_probability]
        if not requested <= set(predicted):
            return Decision("missing_label", tuple(predicted))
        parents = {parent for c in predicted for parent in space.ancestors(c)} - set(predicted)
        return Decision("accepted", (*predicted, *sorted(parents)))


class CalibratedPolicy(_Policy):
    """Every requested class must reach its own threshold (``figment.metrics.calibration``), by class name.

    With a ``target_precision`` the thresholds come from the pictures that are checked (``settle``): so large a share of the
    pictures that pass for a class is to show it, with 95 % confidence. Either that or ``thresholds`` is given.
    """

    policy: Literal["calibrated"] = "calibrated"
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

    def decide(self, probabilities: np.ndarray, requested: frozenset[int], space: LabelSpace) -> Decision:
        for c in requested:
            if space.names[c] not in self.thresholds:
                raise InputError(
                    f"thresholds: none for class {space.names[c]!r}; calibrate all classes that pictures are asked for"
                )
        predicted = tuple(
            int(c)
            for c in ranking(probabilities)
            if c in requested and probabilities[c] >= self.thresholds[space.names[c]].value
        )
        return Decision("accepted" if len(predicted) == len(requested) else "missing_label", predicted)


AcceptancePolicy = Annotated[CocoPolicy | NusPolicy | CalibratedPolicy, Field(discriminator="policy")]


def ranking(probabilities: np.ndarray) -> np.ndarray:
    """(C,) class ids, most probable first, equals in the order of their ids."""
    return np.argsort(-probabilities, kind="stable")


def _reason(requested: frozenset[int], predicted: tuple[int, ...]) -> str:
    if not set(predicted) <= requested:
        return "other_label"
    return "accepted" if len(predicted) == len(requested) else "missing_label"


def make_multilabel_verdicts(
    image_ids: Sequence[str],
    labels: Sequence[Sequence[str]],
    probabilities: np.ndarray,
    contrasts: np.ndarray,
    space: LabelSpace,
    policy: CocoPolicy | NusPolicy | CalibratedPolicy,
    unsafe: Sequence[bool] | None = None,
) -> pa.Table:
    """One row an image, sorted by id, from grouping-softmax ``probabilities`` (N, C) and pixel ``contrasts`` (N,).

    ``probabilities`` are kept in the order of the space; ``predicted`` are the names an accepted picture is trained on as.
    ``unsafe`` (N,): what a safety checker stopped.
    """
    rows: list[dict[str, Any]] = []
    stopped = [False] * len(image_ids) if unsafe is None else unsafe
    for image_id, names, scores, contrast, is_unsafe in zip(
        image_ids, labels, probabilities, contrasts, stopped, strict=True
    ):
        requested = frozenset(space.names.index(name) for name in names)
        reason, predicted = policy.decide(scores, requested, space)
        if is_unsafe:
            reason = "unsafe"
        elif not contrast >= policy.min_contrast:  # so is NaN
            reason = "blank"
        elif not np.isfinite(scores).all():
            reason, predicted = "missing_label", ()
        rows.append(
            {
                "image_id": image_id,
                "accepted": reason == "accepted",
                "reason": reason,
                "labels": list(names),
                "predicted": [space.names[c] for c in predicted],
                "probabilities": scores.astype(float).tolist(),
                "contrast": float(contrast),
            }
        )
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["image_id"]), schema=SCHEMA)


def is_settled(policy: CocoPolicy | NusPolicy | CalibratedPolicy) -> bool:
    """Whether it can decide as it is, without pictures to find thresholds from."""
    return not isinstance(policy, CalibratedPolicy) or bool(policy.thresholds)


def settle(
    policy: CocoPolicy | NusPolicy | CalibratedPolicy, presence: np.ndarray, requested: np.ndarray, space: LabelSpace
) -> CocoPolicy | NusPolicy | CalibratedPolicy:
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
    """A threshold for each class from the generated pictures alone: other classes' pictures are its negatives.

    ``presence`` (N, C) are ``presence_probabilities``, ``requested`` (N, C) bool. A class's negatives are the pictures that
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
    """(C, C) bool: whether a picture of one may well show the other: the same, confusable, or one above the other."""
    kin = np.eye(len(space), dtype=bool)
    for c in range(len(space)):
        kin[c, list(space.ancestors(c))] = True
    for pair in space.confusable:
        first, second = (space.id_of(name) for name in pair)
        kin[first, second] = True
    return kin | kin.T
