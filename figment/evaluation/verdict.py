"""A run's verdict in words: which is better, by how much, and whether the paired interval decides it."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

SUMMARY = "summary.json"  # beside the report
KNOWN = 0.25  # of the way from chance to all right: where CLIP stays below, it hardly knows the images


class Verdict(BaseModel):
    """One sentence. ``outcome``: a decided comparison is ``better`` or ``worse``, one whose interval holds zero ``undecided``; a
    score alone has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    outcome: Literal["", "better", "worse", "undecided"] = ""


def outcome_of(gain: Sequence[float]) -> Literal["better", "worse", "undecided"]:
    """What a difference with both ends of its interval says; one that touches zero decides nothing."""
    _, low, high = gain
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def score(subject: str, what: str, value: float, low: float, high: float, where: str) -> Verdict:
    """Of a score with its interval, in [0, 1]: ``combined: 61.2 % top-1 (95 % interval 58.0 to 64.1) on 700 real images``."""
    interval = "" if low == high else f" (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    return Verdict(text=f"{subject}: {100 * value:.1f} % {what}{interval} on {where}.")


def compare(subject: str, rival: str, gain: Sequence[float], where: str = "", unit: str = "points") -> Verdict:
    """What the paired difference of the ``subject`` and its ``rival`` says."""
    value, low, high = (100 * part for part in gain)
    outcome = outcome_of(gain)
    size = f"{abs(value):.1f}"
    side = "over" if value > 0 else "under"
    distance = f"is level with {rival}" if size == "0.0" else f"is {size} {unit} {side} {rival}"
    decision = "undecided, the interval holds zero" if outcome == "undecided" else "decided"
    place = f" on {where}" if where else ""
    text = f"{subject} {distance}{place} (95 % interval {low:+.1f} to {high:+.1f}): {decision}."
    return Verdict(text=text, outcome=outcome)


def strangers(top1: float, high: float, chance: float) -> list[Verdict]:
    """A warning if CLIP, whose accuracy has an interval up to ``high``, hardly knows the real images: photos, where the models
    know drawings, or classes of another kind."""
    if high >= chance + KNOWN * (1 - chance):
        return []
    text = (
        f"Warning: CLIP itself calls {100 * top1:.1f} % of the real images by their class, chance {100 * chance:.1f} %. "
        "Such images or classes are strange to it, and it judged what was generated: take a CLIP and a generator that know them "
        "(the embedded models know drawings of 32 objects)."
    )
    return [Verdict(text=text, outcome="worse")]


class Summary(BaseModel):
    """How a run ended, for a terminal: the headline table, the verdict, the paths of report and model, the next command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    heading: str  # of the table
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    verdict: tuple[Verdict, ...]
    report: str
    model: str

    @property
    def lines(self) -> list[str]:
        ends = [f"report: {self.report}", f"model: {self.model}", f"next: figment predict IMAGE --model {self.model}"]
        return [*(one.text for one in self.verdict), *ends]
