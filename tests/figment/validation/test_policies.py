import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import beta, binomtest

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.metrics.calibration import proportion_interval, threshold_from_negatives
from figment.validation.policies import (
    AcceptancePolicy,
    CalibratedPolicy,
    CocoPolicy,
    NusPolicy,
    calibrate,
    settle,
)
from figment.validation.verdicts import REASONS, make_verdicts

SPACE = LabelSpace.model_validate(
    {
        "labels": [
            {"name": "animal"}, {"name": "dog", "parents": ["animal"]}, {"name": "cat", "parents": ["animal"]},
            {"name": "bus"}, {"name": "cup"}, {"name": "sink"},
        ],
        "confusable": [["cup", "sink"]],
    }
).checked()  # fmt: skip


def decide(policy, probabilities: dict[str, float], *requested: str) -> tuple[str, list[str]]:
    scores = np.array([probabilities.get(name, 0.0) for name in SPACE.names])
    ids = frozenset(SPACE.names.index(name) for name in requested)
    reason, predicted = policy.decide(scores, ids, SPACE)
    return reason, [SPACE.names[c] for c in predicted]


@pytest.mark.parametrize(
    ("probabilities", "reason", "predicted"),
    [
        ({"dog": 0.9, "bus": 0.6}, "accepted", ["dog", "bus"]),
        ({"bus": 0.9, "dog": 0.6}, "accepted", ["bus", "dog"]),
        ({"dog": 0.9, "bus": 0.5}, "missing_label", ["dog"]),
        ({"dog": 0.9, "bus": 0.2, "cat": 0.4}, "missing_label", ["dog"]),
        ({"dog": 0.1, "bus": 0.2, "cat": 0.8}, "other_label", ["cat"]),
        ({"dog": 0.4, "bus": 0.3}, "missing_label", []),
    ],
)
def test_coco_wants_exactly_the_requested_classes_above_the_threshold(probabilities, reason, predicted):
    assert decide(CocoPolicy(), probabilities, "dog", "bus") == (reason, predicted)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_coco_accepts_if_and_only_if_every_requested_class_passes_one_half(seed, count):
    """Above one half in its own group a requested class beats every other class, so the ranking adds nothing."""
    import torch

    from figment.validation import grouping_softmax

    rng = np.random.default_rng(seed)
    requested = np.zeros(6, bool)
    requested[rng.choice(6, count, replace=False)] = True
    v = grouping_softmax(torch.tensor(rng.normal(0, 3, (1, 6))), torch.tensor(requested)[None])[0].numpy()
    reason, _ = CocoPolicy().decide(v, frozenset(np.flatnonzero(requested)), SPACE)
    assert (reason == "accepted") == bool((v[requested] > 0.5).all())


def test_nus_asks_for_rank_only_and_adds_extras_and_parents():
    probabilities = {"bus": 0.9, "dog": 0.02, "cup": 0.3, "sink": 0.05}
    assert decide(NusPolicy(top_k=4), probabilities, "bus", "dog") == ("accepted", ["bus", "cup", "dog", "animal"])


def test_nus_rejects_what_is_not_among_the_first():
    probabilities = {"bus": 0.9, "cup": 0.3, "sink": 0.2, "dog": 0.1}
    assert decide(NusPolicy(top_k=3), probabilities, "bus", "dog") == ("missing_label", ["bus", "cup", "sink"])


def test_equals_rank_by_id():
    assert decide(NusPolicy(top_k=2, extra_probability=0), {"bus": 0.5, "dog": 0.5, "cat": 0.5}, "bus")[1] == [
        "dog",
        "cat",
    ]


def threshold(value: float) -> dict:
    return {"value": value, "precision": 1, "low": 1, "high": 1, "accepted": 1, "negatives": 9, "reached": True}


def test_calibrated_holds_each_class_to_its_own_threshold():
    policy = CalibratedPolicy.model_validate({"thresholds": {"dog": threshold(0.3), "bus": threshold(0.8)}})
    assert decide(policy, {"dog": 0.3, "bus": 0.8, "cat": 0.9}, "dog", "bus") == ("accepted", ["bus", "dog"])
    assert decide(policy, {"dog": 0.3, "bus": 0.7}, "dog", "bus") == ("missing_label", ["dog"])
    with pytest.raises(InputError, match="none for class 'cup'"):
        decide(policy, {}, "cup")


def test_a_config_names_its_policy():
    read = TypeAdapter(AcceptancePolicy).validate_python
    assert read({"kind": "coco", "min_probability": 0.6}) == CocoPolicy(min_probability=0.6)
    assert read({"kind": "nus"}) == NusPolicy()
    assert (
        read(read({"kind": "calibrated", "thresholds": {"dog": threshold(0.3)}}).model_dump()).thresholds["dog"].value
        == 0.3
    )


def test_a_calibrated_policy_is_given_its_target_or_its_thresholds():
    for given_, found in (({}, "neither"), ({"target_precision": 0.9, "thresholds": {"dog": threshold(0.3)}}, "both")):
        with pytest.raises(
            ValidationError, match=f"{found} target_precision .* are given; give target_precision, such as"
        ):
            CalibratedPolicy.model_validate(given_)
    for target in (0, 1, 90):
        with pytest.raises(ValidationError, match="target_precision"):
            CalibratedPolicy(target_precision=target)


def test_a_target_becomes_the_thresholds_of_the_images_and_no_other_policy_changes():
    requested = np.eye(6, dtype=bool).repeat(50, 0)
    presence = np.where(requested, 0.9, 0.1)
    settled = settle(CalibratedPolicy(target_precision=0.5, min_contrast=0.004), presence, requested, SPACE)
    assert settled == CalibratedPolicy(thresholds=calibrate(presence, requested, SPACE, 0.5), min_contrast=0.004)
    assert settled.thresholds != calibrate(presence, requested, SPACE, 0.999)
    for policy in (CocoPolicy(), NusPolicy(), settled):
        assert settle(policy, presence[:0], requested[:0], SPACE) is policy


def test_verdicts_keep_reason_probability_and_predicted_labels():
    v = np.array([[0, 0.9, 0, 0.8, 0, 0], [0, 0.9, 0, 0.1, 0, 0], [0, 0.9, 0, 0.8, 0, 0]])
    asked = {"labels": ["bus", "dog"], "trick": "pair", "unsafe": False}
    seen = [
        asked | {"image_id": name, "contrast": contrast} for name, contrast in (("c", 0.3), ("a", 0.3), ("b", 0.001))
    ]
    rows = make_verdicts(seen, v, SPACE, CocoPolicy()).to_pylist()
    assert [row["image_id"] for row in rows] == ["c", "a", "b"]
    assert [row["reason"] for row in rows] == ["accepted", "missing_label", "blank"]
    assert [row["accepted"] for row in rows] == [True, False, False]
    assert (rows[0]["labels"], rows[0]["predicted"]) == (["bus", "dog"], ["dog", "bus"])
    assert [row["probability"] for row in rows] == [0.8, 0.1, 0.8], "that of the label which is seen least"
    assert {row["reason"] for row in rows} <= set(REASONS)
    stopped = make_verdicts([seen[0] | {"contrast": 0.0, "unsafe": True}], v[:1], SPACE, CocoPolicy())
    assert stopped["reason"].to_pylist() == ["unsafe"]


@given(
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.5, 0.95, 0.99])
)
def test_the_interval_is_scipys_exact_one(counts, confidence):
    low, high = proportion_interval(np.array(counts[0]), counts[1], confidence)
    exact = binomtest(*counts).proportion_ci(confidence, "exact")
    assert (float(low), float(high)) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_no_evidence_is_no_knowledge():
    assert proportion_interval(np.array(0), 0, 0.95) == (0, 1)
    chosen = threshold_from_negatives([], [], 0.9)
    assert (chosen.reached, chosen.low, chosen.high) == (False, 0, 1)


def good(size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.beta(6, 2, size)


def bad(size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.beta(2, 5, size)


def true_precision(value: float, prior: float) -> float:
    right, wrong = prior * beta.sf(value, 6, 2), (1 - prior) * beta.sf(value, 2, 5)
    return right / (right + wrong)


def test_the_bound_holds_where_the_truth_is_known():
    rng, failures, reached = np.random.default_rng(0), 0, 0
    for _ in range(200):
        chosen = threshold_from_negatives(np.concatenate([good(100, rng), bad(100, rng)]), bad(2000, rng), 0.9)
        failures += true_precision(chosen.value, 0.5) < chosen.low
        reached += chosen.reached
    assert failures <= 200 * 0.05
    assert reached >= 200 * 0.8


def test_a_higher_target_is_a_stricter_threshold_that_accepts_less():
    rng = np.random.default_rng(0)
    own, others = np.concatenate([good(400, rng), bad(400, rng)]), bad(4000, rng)
    chosen = [threshold_from_negatives(own, others, target) for target in (0.6, 0.8, 0.9, 0.95)]
    assert all(t.reached for t in chosen)
    assert sorted(t.value for t in chosen) == [t.value for t in chosen]
    assert sorted((t.accepted for t in chosen), reverse=True) == [t.accepted for t in chosen]
    assert all(t.low <= t.precision <= t.high for t in chosen)


def test_an_unreachable_target_says_so_and_comes_near():
    rng = np.random.default_rng(0)
    chosen = threshold_from_negatives(good(60, rng), bad(60, rng), 0.999)
    assert not chosen.reached
    assert 0 < chosen.low < 0.99


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), max_size=20), st.lists(st.floats(0, 1), max_size=20), st.floats(0.05, 0.99))
def test_any_evidence_gives_a_threshold_with_its_interval(own, others, target):
    chosen = threshold_from_negatives(own, others, target)
    assert 0 <= chosen.low <= chosen.high <= 1
    assert chosen.reached == (chosen.low >= target)


def test_kin_are_not_each_others_negatives():
    """A class's negatives are images that can hardly show it: a dog's image says nothing against animal."""
    requested = np.eye(6, dtype=bool).repeat(50, 0)
    presence = np.where(requested, 0.9, 0.1)
    thresholds = calibrate(presence, requested, SPACE, 0.5)
    negatives = {name: t.negatives for name, t in thresholds.items()}
    assert negatives == {"animal": 150, "dog": 200, "cat": 200, "bus": 250, "cup": 200, "sink": 200}
    assert all(t.reached and 0.1 < t.value <= 0.9 for t in thresholds.values())
