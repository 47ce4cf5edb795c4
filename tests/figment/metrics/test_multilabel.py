import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score
from torch.profiler import ProfilerActivity, profile
from torchmetrics.functional.classification import multilabel_average_precision

from figment.errors import InputError
from figment.metrics import multilabel
from figment.metrics.multilabel import (
    average_precisions,
    k_best,
    mean_average_precision,
    measures,
    precision_recall_f1_at,
    precision_recall_f1_at_k,
)

cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8), st.floats(0.05, 0.8))


def draw(case, distinct: bool = True) -> tuple[np.ndarray, np.ndarray]:
    seed, images, classes, share = case
    rng = np.random.default_rng(seed)
    scores = rng.permutation(images * classes).reshape(images, classes) / (images * classes)
    if not distinct:
        scores = scores.round(1)
    return scores, (rng.random((images, classes)) < share).astype(int)


@given(cases)
def test_average_precision_is_scikit_learns_where_no_scores_are_equal(case):
    scores, targets = draw(case)
    expected = [average_precision_score(t, s) if t.any() else np.nan for s, t in zip(scores.T, targets.T, strict=True)]
    assert np.allclose(average_precisions(scores, targets), expected, equal_nan=True)


def test_the_mean_is_torchmetrics_macro_average():
    scores, targets = draw((0, 200, 6, 0.3))
    expected = multilabel_average_precision(torch.tensor(scores), torch.tensor(targets), num_labels=6, average="macro")
    assert mean_average_precision(scores, targets) == pytest.approx(float(expected), abs=1e-6)


@given(cases, st.integers(1, 9))
def test_the_k_best_are_scikit_learns_micro_averages(case, k):
    scores, targets = draw(case)
    predicted = np.zeros_like(targets)
    for row, s in enumerate(scores):
        predicted[row, sorted(range(len(s)), key=lambda c: -s[c])[:k]] = 1
    found = precision_recall_f1_at_k(scores, targets, k)
    for value, function in zip(found, (precision_score, recall_score, f1_score), strict=True):
        assert value == pytest.approx(function(targets.ravel(), predicted.ravel(), zero_division=0))


@given(cases, st.integers(1, 9), st.booleans())
def test_everything_lies_between_zero_and_one_whatever_the_ties(case, k, drop):
    scores, targets = draw(case, distinct=False)
    assert 0 <= mean_average_precision(scores, targets) <= 1 + 1e-12
    assert all(0 <= value <= 1 for value in precision_recall_f1_at_k(scores, targets, k, drop))


@given(cases)
def test_only_the_order_of_scores_matters(case):
    scores, targets = draw(case, distinct=False)
    assert mean_average_precision(np.exp(3 * scores), targets) == mean_average_precision(scores, targets)


@given(cases)
def test_numpy_and_torch_agree_in_ties_too(case):
    scores, targets = draw(case, distinct=False)
    scores = scores.astype(np.float32)
    assert mean_average_precision(torch.tensor(scores), torch.tensor(targets)) == mean_average_precision(
        scores, targets
    )
    assert precision_recall_f1_at_k(torch.tensor(scores), torch.tensor(targets).bool(), 2) == precision_recall_f1_at_k(
        scores, targets, 2
    )


@given(cases)
def test_perfect_scores_have_perfect_average_precision(case):
    _, targets = draw(case)
    if targets.any():
        assert mean_average_precision(targets, targets, absent="ignore") == 1


def test_a_class_without_a_positive_counts_as_nothing_or_not_at_all():
    scores, targets = [[0.9, 0.1], [0.1, 0.9]], [[1, 0], [0, 0]]
    assert mean_average_precision(scores, targets) == 0.5
    assert mean_average_precision(scores, targets, absent="ignore") == 1


def test_an_unlabelled_image_makes_k_wrong_predictions_unless_dropped():
    scores, targets = [[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]], [[1, 1, 0], [0, 0, 0]]
    assert precision_recall_f1_at_k(scores, targets, 2) == (0.5, 1, pytest.approx(2 / 3))
    assert precision_recall_f1_at_k(scores, targets, 2, drop_unlabelled=True) == (1, 1, 1)


def test_equal_scores_go_to_the_lower_class_id():
    assert precision_recall_f1_at_k([[0.5, 0.5, 0.5]], [[1, 0, 1]], 1) == (1, 0.5, pytest.approx(2 / 3))


@given(cases, st.lists(st.integers(1, 9), min_size=1, max_size=3), st.booleans())
def test_one_ranking_gives_every_k_what_its_own_gives(case, ks, drop):
    scores, targets = draw(case, distinct=False)
    expected = {k: precision_recall_f1_at_k(scores, targets, k, drop) for k in ks}
    assert precision_recall_f1_at(scores, targets, ks, drop) == expected


@given(cases, st.integers(1, 9))
def test_the_k_best_are_the_first_of_a_stable_ranking_whatever_the_ties(case, k):
    scores, _ = draw(case, distinct=False)
    assert k_best(torch.tensor(scores), k).tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :k].tolist()


@pytest.mark.parametrize("ranked", [1, 7, 20, 10**6])
def test_a_ranking_in_blocks_is_the_same_to_the_last_bit(monkeypatch, ranked):
    scores, targets = draw((3, 23, 5, 0.4), distinct=False)
    whole, best = average_precisions(scores, targets), k_best(torch.tensor(scores), 3)
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(targets, order, 0)
    precision = hits.cumsum(0) / np.arange(1, 24)[:, None]
    assert whole.tolist() == ((precision * hits).sum(0) / hits.sum(0)).tolist()
    monkeypatch.setattr(multilabel, "RANKED", ranked)
    assert average_precisions(scores, targets).tolist() == whole.tolist()
    assert k_best(torch.tensor(scores), 3).tolist() == best.tolist()


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", ">i4", "i8", "f2", ">f4", "f8"])
def test_arrays_of_every_type_of_number(dtype):
    given = np.array([[0, 1, 0], [1, 0, 1]]).astype(dtype)
    assert mean_average_precision(given, given) == 1
    assert precision_recall_f1_at_k(given, given, 1) == (1, pytest.approx(2 / 3), 0.8)


def test_ranking_takes_little_room(monkeypatch):
    """Nothing as large as the scores is allocated but for the masks of the checks."""
    scores, targets = torch.rand(1000, 200), torch.rand(1000, 200) < 0.1
    monkeypatch.setattr(multilabel, "RANKED", 2**13)
    for measure in (mean_average_precision, lambda s, t: precision_recall_f1_at(s, t, (3, 5))):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            measure(scores, targets)
        largest = max(event.cpu_memory_usage for event in profiled.events())
        assert largest < scores.nbytes / 3


def test_more_than_all_classes_are_all_classes():
    assert precision_recall_f1_at_k([[0.5, 0.4]], [[1, 0]], 5) == (0.5, 1, pytest.approx(2 / 3))


def test_no_positive_at_all_is_zero_not_an_error():
    assert precision_recall_f1_at_k([[0.5, 0.4]], [[0, 0]], 1) == (0, 0, 0)
    assert precision_recall_f1_at_k([[0.5, 0.4]], [[0, 0]], 1, drop_unlabelled=True) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mean_average_precision([[0.5]], [[1, 0]]), r"scores \(1, 1\) and targets \(1, 2\)"),
        (lambda: mean_average_precision([], []), "at least one of each"),
        (lambda: mean_average_precision([[np.nan, 1]], [[1, 0]]), "1 of 2 are NaN"),
        (lambda: mean_average_precision([[0.5, 1]], [[1, -1]]), "targets: found .*-1"),
        (lambda: mean_average_precision([[0.5]], [[0]], absent="ignore"), "no class has a positive image"),
        (lambda: mean_average_precision([[0.5]], [[0]], absent="drop"), "'drop' is neither"),
        (lambda: precision_recall_f1_at_k([[0.5]], [[1]], 0), "k: 0 classes an image"),
        (lambda: precision_recall_f1_at([[0.5]], [[1]], (3, -1)), "k: -1 classes an image"),
    ],
)
def test_bad_input_is_one_clear_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


def test_unlabelled_images_change_nothing_and_unknown_is_not_shown():
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [1.0, 1.0]])
    targets = torch.tensor([[1, 0], [0, 1], [0, -1]])
    assert measures(scores, targets) == measures(scores[:2], targets[:2])
    assert measures(scores, targets, drop_unlabelled=False)["P@3"] < measures(scores, targets)["P@3"]


def test_all_ks_are_measured_from_one_ranking(monkeypatch):
    asked = []
    monkeypatch.setattr(multilabel, "k_best", lambda scores, k: asked.append(k) or scores.argsort(dim=1)[:, :k])
    found = measures(torch.rand(9, 6), torch.ones(9, 6), ks=(1, 4, 2))
    assert asked == [4]
    assert list(found) == ["mAP", *(f"{what}@{k}" for k in (1, 4, 2) for what in ("P", "R", "F1"))]
    assert list(measures(torch.rand(9, 6), torch.ones(9, 6), ks=())) == ["mAP"]
