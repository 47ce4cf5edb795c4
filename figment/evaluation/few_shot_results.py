"""The table of a few-shot run: every method on every test set, beside the photos alone and CLIP without any."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from figment.labels import LabelSpace
from figment.metrics.accuracy import Score, calibration_error, check_finite, macro_score, paired_macro_difference
from figment.metrics.diversity import Ledger

CLIP = "CLIP zero-shot"
BASELINE = "standard"  # photos alone, augmented: what every gain is over
DEPLOYED = "all"  # whose classifier is registered, if there is one of that name, else the last: chosen before measuring


class Accuracy(BaseModel):
    """Macro accuracy in [0, 1] with its 95 % interval over the test images, and its gain over the baseline, paired."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    gain: tuple[float, float, float] | None = None  # mean and 95 % interval
    over_clip: tuple[float, float, float] | None = None  # the same over CLIP zero-shot


class MethodResult(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    made: int | None  # images made for it
    effective_size: float | None  # of those of a photo, as they are weighted
    tests: dict[str, Accuracy]
    calibration_error: float  # on the first test set


class FewShotResults(BaseModel):
    """``images`` are the photos of each test set, ``diversity`` the ledger of each method's made images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...]
    shots: int
    images: dict[str, int]
    rows: tuple[MethodResult, ...]
    deployed: str
    diversity: dict[str, Ledger] = {}

    def __getitem__(self, name: str) -> MethodResult:
        return next(row for row in self.rows if row.name == name)


def deployed_of(methods: Mapping[str, object]) -> str:
    return DEPLOYED if DEPLOYED in methods else list(methods)[-1]


def tabulate_few_shot(
    space: LabelSpace,
    shots: int,
    truths: Mapping[str, Tensor],
    clip_logits: Mapping[str, Tensor],
    logits: Mapping[str, Mapping[str, Tensor]],
    made: Mapping[str, tuple[int, float]],
) -> FewShotResults:
    """``truths`` (N,) and ``clip_logits`` (N, C) by test set; ``logits`` and ``made`` (images, effective size) by method."""
    base = logits.get(BASELINE)
    first = next(iter(truths))
    rows = []
    for name, scores in {CLIP: clip_logits, **logits}.items():
        for found in scores.values():
            check_finite(name, found)
        compared = base if base is not None and name not in (CLIP, BASELINE) else None
        tests = {
            test: _accuracy(
                macro_score(scores[test], truth),
                None if compared is None else paired_macro_difference(scores[test], compared[test], truth),
                None if name == CLIP else paired_macro_difference(scores[test], clip_logits[test], truth),
            )
            for test, truth in truths.items()
        }
        count, size = made.get(name, (None, None))
        error = calibration_error(scores[first], truths[first])
        rows.append(MethodResult(name=name, made=count, effective_size=size, tests=tests, calibration_error=error))
    return FewShotResults(
        labels=space.names,
        shots=shots,
        images={test: len(truth) for test, truth in truths.items()},
        rows=tuple(rows),
        deployed=deployed_of(logits),
    )


def _accuracy(score: Score, gain: Score | None, over_clip: Score | None) -> Accuracy:
    paired, clip = (None if found is None else (found.top1, found.low, found.high) for found in (gain, over_clip))
    return Accuracy(value=score.top1, low=score.low, high=score.high, gain=paired, over_clip=clip)
