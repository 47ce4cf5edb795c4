"""Quotas: so many accepted images for each class, topped up in rounds, never without end and never in silence."""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from figment.columns import Places, numbered, sorted_by_id, turns
from figment.errors import InputError
from figment.planning.from_prompts import Cell
from figment.planning.plan import make_plan, union
from figment.planning.row import IMPORTED, Row
from figment.types import Count, Settings

NAMED = 50  # sets of labels in one message
SEPARATOR = "\x1f"  # between labels


class QuotaConfig(Settings):
    """``accepted`` images are wanted of every class, or pair of classes, in every trick."""

    accepted: Count
    max_attempts: Count  # images rendered of one class in one trick before it is given up
    max_rounds: Count = 8
    if_short: Literal["stop", "go_on"] = "stop"  # what becomes of a run in which sets were given up

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_attempts < self.accepted:
            raise ValueError(f"max_attempts {self.max_attempts} is less than accepted {self.accepted}; raise it")
        return self


class QuotaError(InputError):
    """Classes that cannot reach their quota; the message names each with its yield and the likely cause."""


@dataclass(frozen=True)
class Tally:
    """What became of the images of one class in one trick."""

    attempts: int
    accepted: int
    reasons: Mapping[str, int]
    mistaken_for: str  # the class that CLIP saw most often instead
    yields_by_prompt: Mapping[str, float]

    @property
    def share(self) -> float:
        return self.accepted / self.attempts


def fill_quotas(
    plan: pa.Table,
    render: Callable[[pa.Table], None],
    judge: Callable[[pa.Table], pa.Table],
    more_rows: Callable[[Mapping[Cell, range]], Iterable[Row]],
    quota: QuotaConfig,
) -> pa.Table:
    """``plan``, whose images are rendered, with the rows that the quotas ask for, rendered too.

    ``render`` gets the whole plan of a round; ``judge`` gives verdicts on a plan's images.
    """
    rounds = 0
    while further := top_up(tally(plan, judge(plan)), quota, rounds):
        plan = union(plan, make_plan(more_rows(further)))
        render(plan)
        rounds += 1
    return plan


def within_quota(verdicts: pa.Table, quota: QuotaConfig) -> pa.Table:
    """The verdicts, with what was accepted beyond the quota of a class and trick (by id) turned to ``surplus``."""
    verdicts = sorted_by_id(verdicts)
    (trick, _), (labels, names) = numbered(verdicts["trick"]), numbered(_joined(verdicts["labels"]))
    passed = np.flatnonzero(verdicts["accepted"].to_numpy())
    surplus = np.zeros(len(verdicts), bool)
    surplus[passed] = turns((trick * len(names) + labels)[passed]) >= quota.accepted
    mask = pa.array(surplus)
    decided = {
        "accepted": pc.and_(verdicts["accepted"], pc.invert(mask)),
        "reason": pc.if_else(mask, "surplus", verdicts["reason"]),
    }
    return pa.table({**{name: verdicts[name] for name in verdicts.column_names}, **decided}).cast(verdicts.schema)


def _joined(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join(labels, SEPARATOR)


def tally(plan: pa.Table, verdicts: pa.Table) -> dict[Cell, Tally]:
    """Counts of each (trick, labels) of what the plan renders: nothing is made in place of an imported image."""
    plan = plan.filter(pc.invert(pc.starts_with(plan["model"], IMPORTED)))
    judged = verdicts.select(["reason", "predicted"]).take(Places(verdicts["image_id"]).of(plan["image_id"]))
    table = plan.select(["trick", "labels", "prompt"]).append_column("reason", judged["reason"])
    table = table.set_column(1, "labels", _joined(plan["labels"]))
    wrong = pc.equal(judged["reason"], "wrong_class")
    mistaken = table.select(["trick", "labels"]).filter(wrong)
    mistaken = mistaken.append_column("seen", pc.list_element(judged["predicted"].filter(wrong), 0))
    reasons, total, passed, seen = (defaultdict[Cell, Counter[str]](Counter) for _ in range(4))
    for trick, labels, prompt, reason, count in _counts(table):
        cell = trick, tuple(labels.split(SEPARATOR))
        reasons[cell][reason] += count
        total[cell][prompt] += count
        passed[cell][prompt] += count * (reason == "accepted")
    for trick, labels, name, count in _counts(mistaken):
        seen[trick, tuple(labels.split(SEPARATOR))][name] += count
    return {
        cell: Tally(
            attempts=found.total(),
            accepted=found["accepted"],
            reasons=dict(found),
            mistaken_for=seen[cell].most_common(1)[0][0] if seen[cell] else "",
            yields_by_prompt={prompt: passed[cell][prompt] / count for prompt, count in total[cell].items()},
        )
        for cell, found in reasons.items()
    }


def _counts(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Each row that there is, in the order of their first ones, and how often."""
    found = table.group_by(table.column_names, use_threads=False).aggregate([([], "count_all")])
    return zip(*(found[name].to_pylist() for name in (*table.column_names, "count_all")), strict=True)


def top_up(tallies: Mapping[Cell, Tally], quota: QuotaConfig, rounds: int) -> dict[Cell, range]:
    """The further replicates that each short cell gets in the next round: what its yield so far suggests, and at most as
    many as it had, for a yield is known badly at first.

    Empty when every quota is reached. When no cell that is short may grow, they are named: in a QuotaError, or in a
    warning and the run goes on with what they have.
    """
    short = {cell: t for cell, t in tallies.items() if t.accepted < quota.accepted}
    more = {}
    for cell, t in short.items():
        wanted = math.ceil((quota.accepted - t.accepted) / max(t.share, 1e-9))
        stop = min(t.attempts + min(wanted, max(t.attempts, quota.accepted)), quota.max_attempts)
        if stop > t.attempts and rounds < quota.max_rounds:
            more[cell] = range(t.attempts, stop)
    if short and not more:
        cells = [f"{' and '.join(labels)} ({trick}): {describe(t)}" for (trick, labels), t in short.items()]
        cells[NAMED:] = [f"and {len(cells) - NAMED} more"] if len(cells) > NAMED else []
        said = f"quota: {len(short)} of {len(tallies)} sets cannot reach {quota.accepted} accepted images: {'; '.join(cells)}"
        if quota.if_short == "stop":
            raise QuotaError(said)
        print(f"warning: {said}", file=sys.stderr)
    return more


def describe(t: Tally) -> str:
    """One clause: the yield of a set, and what most likely keeps it low."""
    return f"{t.accepted} of {t.attempts} accepted ({t.share:.0%}), likely {likely_cause(t)}"


def likely_cause(t: Tally) -> str:
    """The prompt, the generator or the threshold, from how the images failed."""
    dropped = {reason: count for reason, count in t.reasons.items() if reason != "accepted"}
    if not dropped:
        return "the bounds: all pass, but too few were asked for (look at quota.max_rounds)"
    most = max(dropped, key=lambda reason: dropped[reason])
    best = max(t.yields_by_prompt, key=lambda prompt: t.yields_by_prompt[prompt])
    if most == "unsafe":
        return "the prompt: the safety checker stops its images"
    if most in ("blank", "near_uniform"):
        return "the generator: its images are blank (look at the guidance scale, the steps and the dtype)"
    if most == "missing_label":
        return "the generator: CLIP does not find in its images all that they should show (tune it, or drop the pair)"
    if most == "other_label":
        return "the generator: CLIP finds in its images what they should not show (tune it, or drop the pair)"
    if most == "low_probability":
        return "the threshold: CLIP sees the class first, but less surely than acceptance.min_probability asks"
    if len(t.yields_by_prompt) > 1 and t.yields_by_prompt[best] > 2 * t.share:
        return f"the prompt: {best!r} yields {t.yields_by_prompt[best]:.0%}, the others little"
    return f"the generator: whatever it is asked, CLIP sees {t.mistaken_for!r} instead (or the prompt means that)"
