"""Quotas on a simulated generator: each class has its own true yield."""

import re
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from figment.planning.plan import make_plan
from figment.planning.quotas import QuotaConfig, QuotaError, Tally, fill_quotas, likely_cause, within_quota
from figment.planning.row import Row
from figment.validation.verdicts import SCHEMA


def rows(cells):
    for (trick, labels), replicates in cells.items():
        for replicate in replicates:
            yield Row(
                prompt=f"a {labels[0]}", labels=labels, recipe="r", trick=trick, model="m", revision="1", width=32,
                height=32, guidance_scale=4.0, num_inference_steps=12, scheduler="DDIMScheduler", stream=0,
                replicate=replicate,
            )  # fmt: skip


def judge(yields):
    """Verdicts by the id's leading digits: a class passes with its probability."""

    def verdicts(plan: pa.Table) -> pa.Table:
        records = []
        for row in plan.to_pylist():
            label = row["labels"][0]
            passed = int(row["image_id"][:8], 16) / 16**8 < yields[label]
            verdict = {"image_id": row["image_id"], "labels": [label], "trick": row["trick"], "accepted": passed}
            verdict |= {"reason": "accepted" if passed else "wrong_class", "predicted": [label if passed else "cat"]}
            records.append(verdict | {"probability": 0.5, "contrast": 0.3})
        return pa.Table.from_pylist(records, schema=SCHEMA)

    return verdicts


def nothing(plan: pa.Table) -> None:
    """Stands for rendering."""


def start(labels, count=8):
    return make_plan(rows({("t", (label,)): range(count) for label in labels}))


@given(st.dictionaries(st.sampled_from(["dog", "frog", "ship"]), st.floats(0.3, 1), min_size=1), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_classes_below_quota_get_more_rows_until_it_is_reached(yields, wanted):
    quota = QuotaConfig(accepted=wanted, max_attempts=500, max_rounds=30)
    plan = fill_quotas(start(yields), nothing, judge(yields), rows, quota)
    verdicts = judge(yields)(plan)
    accepted = Counter(row["labels"][0] for row in verdicts.to_pylist() if row["accepted"])
    assert all(accepted[label] >= wanted for label in yields)
    kept = within_quota(verdicts, quota).to_pylist()
    assert Counter(row["labels"][0] for row in kept if row["accepted"]) == dict.fromkeys(yields, wanted)
    assert sum(row["reason"] == "surplus" for row in kept) == sum(accepted.values()) - wanted * len(yields)


def test_a_class_that_reaches_its_quota_at_once_is_left_alone():
    plan = fill_quotas(start(["dog"]), nothing, judge({"dog": 1}), rows, QuotaConfig(accepted=8, max_attempts=9))
    assert plan.equals(start(["dog"]))


def test_a_class_that_cannot_pass_is_named_with_its_yield_and_cause():
    quota = QuotaConfig(accepted=8, max_attempts=40)
    sentence = (
        r"quota: 1 of 2 sets cannot reach 8 .*: frog \(t\): 0 of 40 accepted \(0%\), likely the generator: .*'cat'"
    )
    with pytest.raises(QuotaError, match=sentence):
        fill_quotas(start(["dog", "frog"]), nothing, judge({"dog": 0.9, "frog": 0}), rows, quota)


def test_each_round_renders_the_plan_that_has_grown_and_at_most_doubles_a_class():
    seen = []
    quota = QuotaConfig(accepted=30, max_attempts=500, max_rounds=30)
    plan = fill_quotas(start(["dog"]), seen.append, judge({"dog": 0.3}), rows, quota)
    sizes = [8, *map(len, seen)]
    assert seen[-1].equals(plan)
    assert all(a < b <= a + max(a, 30) for a, b in pairwise(sizes))


def test_a_hopeless_class_does_not_stop_the_others():
    quota = QuotaConfig(accepted=40, max_attempts=200, max_rounds=30)
    plans = []
    with pytest.raises(QuotaError, match=r"1 of 2 sets .*frog"):
        fill_quotas(start(["dog", "frog"]), plans.append, judge({"dog": 0.3, "frog": 0}), rows, quota)
    passed = Counter(v["labels"][0] for v in judge({"dog": 0.3, "frog": 0})(plans[-1]).to_pylist() if v["accepted"])
    assert passed["dog"] >= 40


def test_a_run_may_go_on_with_what_a_hopeless_class_has_and_names_it(capsys):
    quota = QuotaConfig(accepted=40, max_attempts=200, max_rounds=30, if_short="go_on")
    yields = {"dog": 0.3, "frog": 0.02}
    plan = fill_quotas(start(yields), nothing, judge(yields), rows, quota)
    tried = Counter(row["labels"][0] for row in plan.to_pylist())
    accepted = Counter(v["labels"][0] for v in judge(yields)(plan).to_pylist() if v["accepted"])
    assert (tried["frog"], accepted["dog"] >= 40) == (200, True)
    assert "warning: quota: 1 of 2 sets cannot reach 40 accepted images: frog (t): " in capsys.readouterr().err


def test_more_wanted_than_may_be_tried_is_refused():
    with pytest.raises(ValidationError, match="max_attempts 3 is less than accepted 4"):
        QuotaConfig(accepted=4, max_attempts=3)


def test_the_rounds_are_bounded_too():
    quota = QuotaConfig(accepted=1, max_attempts=10**9, max_rounds=3)
    with pytest.raises(QuotaError, match=re.escape("frog (t)")):
        fill_quotas(start(["frog"]), nothing, judge({"frog": 0}), rows, quota)


@pytest.mark.parametrize(
    ("reasons", "by_prompt", "cause"),
    [
        ({"blank": 9}, {"a": 0.0}, "the generator"),
        ({"unsafe": 9}, {"a": 0.0}, "the prompt"),
        ({"low_probability": 9}, {"a": 0.1}, "the threshold"),
        ({"missing_label": 9}, {"a": 0.1}, "the generator: CLIP does not find"),
        ({"other_label": 9}, {"a": 0.1}, "the generator: CLIP finds in its images what they should not"),
        ({"wrong_class": 9}, {"a": 0.0, "b": 0.9}, "the prompt"),
        ({"wrong_class": 9}, {"a": 0.1, "b": 0.1}, "the generator"),
        ({}, {"a": 1.0}, "the bounds"),
    ],
)
def test_the_likely_cause(reasons, by_prompt, cause):
    tally = Tally(10, 1, reasons | {"accepted": 1}, "cat", by_prompt)
    assert likely_cause(tally).startswith(cause)
