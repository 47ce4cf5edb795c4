"""Rounds of images by what a classifier gets wrong: which are rendered, which of them are kept, and when it ends."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor, nn

from figment.files import digest
from figment.metrics.accuracy import Score, confusion, paired_difference, top1
from figment.metrics.learning_curve import POINTS, fit_curves
from figment.planning.bag_of_tricks import RANDOM, Shares
from figment.planning.from_prompts import Cell
from figment.planning.plan import make_plan, union
from figment.planning.rounds import (
    RANDOM_TRICK,
    History,
    Interval,
    Round,
    budgets,
    candidate_cells,
    confused_classes,
    expected_gain,
    in_round,
    reason_to_stop,
    round_trick,
)
from figment.prompts.tricks import Prompt
from figment.training.classifier import predict
from figment.training.lists import training_list
from figment.training.round_stages import Stages
from figment.validation.verdicts import EASY, OUTLIER, SURPLUS

TRIES = 4  # times that the control renders more, if CLIP rejects too many
MARGIN = 1.2  # of what the control renders over what it should need
LEAST_YIELD = 0.2  # that it counts on


class Grown(NamedTuple):
    """``plan`` and ``verdicts`` of all images, those of the first training too; ``network``: the last round's classifier."""

    plan: pa.Table
    verdicts: pa.Table
    history: History
    network: nn.Module


@dataclass
class Growth:
    """Rounds under way: ``plan`` and ``verdicts`` are of all images so far, ``chosen`` is the list trained on last."""

    plan: pa.Table
    verdicts: pa.Table
    stages: Stages
    rounds: list[Round] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)  # of each round's classifier on the validation images

    def __post_init__(self) -> None:
        rounding = self.stages.rounding
        self.names, self.config, self.real = self.stages.space.names, rounding.rounds, self.stages.validation().load()
        rendered = {name for kind in rounding.planning.prompts for name in kind.names}
        own = {trick: count for trick, count in rounding.shares.items() if trick in rendered}
        self.tricks = own or dict.fromkeys(sorted(rendered), 1)  # in the proportions of the first set

    def run(self, network: nn.Module) -> Grown:
        """All rounds, from the classifier that was trained on the first list, and the control."""
        self.chosen = self.base = training_list(self.verdicts, self.stages.rounding.shares)
        self.network = network
        self._measure(number=0, images=len(self.chosen))
        while not (stop := reason_to_stop(self.rounds, self.config)):
            self._round(len(self.rounds))
        control = self._control() if self.config.control == "random" else None
        sizes = [each.images for each in self.rounds]
        curve = fit_curves(sizes, self._wrong().mean(1)[None])[0] if len(sizes) >= POINTS else None
        found = {"curve": curve, "stop": stop, "control": control, "validation_images": len(self.real)}
        return Grown(self.plan, self.verdicts, History(rounds=tuple(self.rounds), **found), self.network)

    def _round(self, number: int) -> None:
        """Render, choose, train, measure."""
        last, config, trick = self.rounds[-1], self.config, round_trick(number)
        shares = budgets([last.errors[name] for name in self.names], config.images, config.smoothing)
        budget = dict(zip(self.names, shares, strict=True))
        confused = confused_classes(confusion(self.logits[-1], self.real.labels).tolist(), self.names)
        prompts = self.stages.ask(confused, number - 1) if confused and config.prompts_per_class else []
        wanted = {name: count * config.oversample for name, count in budget.items()}
        asked = {name for prompt in prompts for name in prompt.labels}
        cells = candidate_cells(wanted, self.tricks, asked, number * config.images * config.oversample)
        judged = self._make(cells, prompts, trick, number)
        candidates = _as_list(judged)
        logits = self.stages.look(self.network, candidates, self.chosen)
        dropped = select_hard(candidates, entropies(logits), budget, config.outliers)
        before, self.chosen = self.chosen, self._keep(judged, dropped, {trick: config.images}, self.chosen)
        self.network = self.stages.train(trick, self.chosen, len(self.chosen) / len(self.base))
        self._measure(
            number=number,
            images=len(self.chosen),
            budget=budget,
            confused=confused,
            prompts=len(prompts),
            rendered=len(judged),
            accepted=len(candidates),
            kept=len(self.chosen) - len(before),
            synthetic=_right_by_class(candidates["label"].to_pylist(), logits, self.names),
        )

    def _control(self) -> Round:
        """A classifier of the first list and as many more images as the rounds kept, of all classes alike, chosen by chance."""
        total = len(self.chosen) - len(self.base)
        wanted = dict(zip(self.names, budgets([1.0] * len(self.names), total, 0.0), strict=True))
        made: Counter[str] = Counter()
        judged = self.verdicts.slice(0, 0)
        for _ in range(TRIES):
            have = Counter(_as_list(judged)["label"].to_pylist())
            cells: dict[Cell, range] = {}
            for name, count in wanted.items():
                rate = max(LEAST_YIELD, have[name] / made[name]) if made[name] else 1.0
                more = math.ceil(MARGIN * max(0, count - have[name]) / rate)
                cells |= candidate_cells({name: more}, self.tricks, (), made[name])
                made[name] += more
            if not cells:
                break
            judged = pa.concat_tables([judged, self._make(cells, [], RANDOM_TRICK, 0)])
        taken = self._keep(judged, _surplus(_as_list(judged), total), {RANDOM_TRICK: total}, self.base)
        network = self.stages.train(RANDOM, taken, len(taken) / len(self.base))
        logits = predict(network, self.real.pixels)
        gain = _interval(paired_difference(self.logits[-1], logits, self.real.labels))
        counts = {"rendered": len(judged), "accepted": len(_as_list(judged)), "kept": len(taken) - len(self.base)}
        return self._measured(logits, number=0, images=len(taken), gain=gain, **counts)

    def _make(self, cells: Mapping[Cell, range], prompts: Sequence[Prompt], trick: str, number: int) -> pa.Table:
        """The verdicts on further images, which are in the plan and rendered then."""
        parent = digest(self.chosen["image_id"].to_pylist()) if number else ""
        more = make_plan(in_round(self.stages.rows(cells, prompts), trick, number, parent))
        self.plan = union(self.plan, more)
        self.stages.render(self.plan)
        return self.stages.judge(more)

    def _keep(self, judged: pa.Table, dropped: Mapping[str, str], share: Shares, joins: pa.Table) -> pa.Table:
        """The list that accepted images, without those ``dropped`` (reasons by id), and the list ``joins`` are together."""
        judged = with_reasons(judged, dropped)
        self.verdicts = pa.concat_tables([self.verdicts, judged]).sort_by("image_id")
        return pa.concat_tables([joins, training_list(judged, share)]).sort_by("image_id")

    def _measure(self, images: int, **values: Any) -> None:
        """Add the classifier to the rounds, with what it gets wrong."""
        logits = predict(self.network, self.real.pixels)
        gain = _interval(paired_difference(logits, self.logits[-1], self.real.labels)) if self.logits else None
        self.logits.append(logits)
        sizes = [*(each.images for each in self.rounds), images]
        expected = expected_gain(sizes, self._wrong(), images + self.config.images)
        self.rounds.append(self._measured(logits, images=images, gain=gain, expected=expected, **values))

    def _measured(self, logits: Tensor, **values: Any) -> Round:
        labels = [self.names[label] for label in self.real.labels.tolist()]
        right, score = _right_by_class(labels, logits, self.names), top1(logits, self.real.labels)
        bits = _mean_by_class(labels, entropies(logits).tolist(), self.names)
        errors = {name: 1 - share for name, share in right.items()}
        return Round(error=(1 - score.top1, 1 - score.high, 1 - score.low), errors=errors, entropy=bits, **values)

    def _wrong(self) -> np.ndarray:
        """(R, N): which of the validation images each classifier is wrong about."""
        return np.stack([(logits.argmax(1) != self.real.labels).numpy() for logits in self.logits])


def entropies(logits: Tensor) -> Tensor:
    """(N,) bits of the softmax of ``logits`` (N, C): how unsure a classifier is."""
    logs = logits.double().log_softmax(1)
    return -(logs.exp() * logs).sum(1) / math.log(2)


def select_hard(candidates: pa.Table, uncertain: Tensor, budget: Mapping[str, int], outliers: float) -> dict[str, str]:
    """Why some ``candidates`` (``image_id, label``; CLIP accepts them) are not kept: of each class the share ``outliers`` that is
    the least sure is left out, the ``budget`` that follows is kept, and the rest is easy."""
    by_class: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for image_id, label, bits in zip(
        candidates["image_id"].to_pylist(), candidates["label"].to_pylist(), uncertain.tolist(), strict=True
    ):
        by_class[label].append((-bits, image_id))
    dropped: dict[str, str] = {}
    for label, found in by_class.items():
        ids = [image_id for _, image_id in sorted(found)]
        strange = min(round(outliers * len(ids)), max(0, len(ids) - budget[label]))
        dropped |= dict.fromkeys(ids[:strange], OUTLIER) | dict.fromkeys(ids[strange + budget[label] :], EASY)
    return dropped


def with_reasons(verdicts: pa.Table, dropped: Mapping[str, str]) -> pa.Table:
    """The verdicts, with accepted images that are ``dropped`` no longer so, for the reason given by id."""
    rows = verdicts.to_pylist()
    for row in rows:
        if row["accepted"] and row["image_id"] in dropped:
            row |= {"accepted": False, "reason": dropped[row["image_id"]]}
    return pa.Table.from_pylist(rows, schema=verdicts.schema)


def _as_list(verdicts: pa.Table) -> pa.Table:
    """All accepted images as a training list."""
    return training_list(verdicts, verdicts["trick"].unique().to_pylist())


def _surplus(candidates: pa.Table, total: int) -> dict[str, str]:
    """What is beyond ``total`` images that are spread over the classes as evenly as there are enough of each."""
    ranks = candidates.select(["label"]).to_pandas().groupby("label").cumcount()
    order = pc.sort_indices(
        candidates.append_column("rank", pa.array(ranks)), [("rank", "ascending"), ("image_id", "ascending")]
    )
    return dict.fromkeys(candidates["image_id"].take(order[total:]).to_pylist(), SURPLUS)


def _right_by_class(labels: Sequence[str], logits: Tensor, names: Sequence[str]) -> dict[str, float]:
    """By class the share of its images whose most probable class it is; without one, the class is left out."""
    best = logits.argmax(1).tolist()
    return _mean_by_class(labels, [names[c] == label for c, label in zip(best, labels, strict=True)], names)


def _mean_by_class(labels: Sequence[str], values: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in names}
    for label, value in zip(labels, values, strict=True):
        found[label].append(value)
    return {name: sum(own) / len(own) for name, own in found.items() if own}


def _interval(score: Score) -> Interval:
    return score.top1, score.low, score.high
