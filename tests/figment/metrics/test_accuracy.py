import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from figment.evaluation.results import tabulate
from figment.labels import LabelSpace
from figment.metrics import accuracy
from figment.metrics.multilabel import mean_average_precision


def logits_of(predicted: list[int], classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def test_top1_is_the_mean_of_argmax_equal_label():
    score = accuracy.top1(logits_of([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1]))
    assert score.top1 == 0.75
    assert 0 <= score.low < 0.75 < score.high <= 1


def test_the_interval_has_the_binomial_width():
    labels = torch.zeros(1000, dtype=torch.long)
    score = accuracy.top1(logits_of([0] * 700 + [1] * 300), labels)
    assert score.high - score.low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 1000), rel=0.1)


def test_all_right_needs_no_interval():
    score = accuracy.top1(logits_of([1, 1]), torch.tensor([1, 1]))
    assert (score.top1, score.low, score.high) == (1, 1, 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_the_confusion_matrix_counts_every_image_once(pairs):
    predicted, truth = zip(*pairs, strict=True)
    matrix = accuracy.confusion(logits_of(list(predicted)), torch.tensor(truth))
    assert int(matrix.sum()) == len(pairs)
    assert int(matrix.diagonal().sum()) == sum(p == t for p, t in pairs)


def test_gap_closed():
    assert accuracy.gap_closed(0.7, 0.5, 0.9) == pytest.approx(0.5)
    assert accuracy.gap_closed(0.7, 0.9, 0.9) is None


def test_a_paired_difference_of_equal_predictions_is_zero():
    logits, labels = logits_of([0, 1, 2]), torch.tensor([0, 0, 2])
    assert accuracy.paired_difference(logits, logits, labels) == accuracy.Score(0, 0, 0)


def test_the_table_has_chance_clip_sets_and_bound():
    truth = torch.tensor([0, 1, 2, 0, 1, 2])
    logits = {
        "base_class": logits_of([0, 1, 1, 1, 0, 0]),
        "combined": logits_of([0, 1, 2, 1, 0, 0]),
        "real": logits_of([0, 1, 2, 0, 1, 0]),
    }
    sizes = {"base_class": 4, "combined": 8, "real": 6}
    results = tabulate(LabelSpace.of(["a", "b", "c"]), truth, logits_of([0] * 6), logits, sizes)
    assert [row.name for row in results.rows] == ["chance", "CLIP zero-shot", "base_class", "combined", "real"]
    assert results["chance"].top1 == pytest.approx(1 / 3)
    assert results["combined"].gap_closed == pytest.approx((3 / 6 - 2 / 6) / (5 / 6 - 2 / 6))
    assert results["combined"].gain[0] == pytest.approx(1 / 6)
    assert results["base_class"].gap_closed is None
    assert results.confusion_of == "combined"
    assert results["real"].per_class == pytest.approx((1, 1, 0.5))
    assert results["real"].calibration_error == pytest.approx(accuracy.calibration_error(logits["real"], truth))
    assert results["chance"].per_class == ()


def test_accuracy_of_each_class_by_hand():
    predicted, truth = torch.tensor([0, 0, 1, 1, 2, 0]), torch.tensor([0, 0, 0, 1, 2, 2])
    scores = accuracy.per_class(torch.nn.functional.one_hot(predicted, 3).float(), truth)
    assert [score.top1 for score in scores] == pytest.approx([2 / 3, 1, 1 / 2])
    assert scores[0].low <= scores[0].top1 <= scores[0].high


def test_calibration_error_by_hand():
    """Four sure answers of which one is wrong are off by a quarter; honest halves are not off at all."""
    sure = torch.tensor([[50.0, 0], [50, 0], [50, 0], [50, 0]])
    assert accuracy.calibration_error(sure, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25, abs=1e-6)
    halves = torch.tensor([[1e-4, 0.0]]).repeat(10, 1)
    assert accuracy.calibration_error(halves, torch.arange(10) % 2) == pytest.approx(0, abs=1e-4)


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 99))
def test_calibration_error_is_guos(n, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, classes, generator=generator)
    truth = torch.randint(classes, (n,), generator=generator)
    confidence, predicted = logits.softmax(1).max(1)
    expected = 0.0
    for b in range(15):
        rows = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if rows.any():
            gap = (predicted[rows] == truth[rows]).float().mean() - confidence[rows].mean()
            expected += float(rows.float().mean() * gap.abs())
    assert accuracy.calibration_error(logits, truth) == pytest.approx(expected, abs=1e-5)


def test_macro_accuracy_is_the_mean_over_the_classes_that_are_there():
    predicted, truth = torch.tensor([0, 0, 1, 3, 3]), torch.tensor([0, 0, 0, 3, 3])  # no image of 1 and 2
    logits = torch.nn.functional.one_hot(predicted, 4).float()
    assert accuracy.macro_accuracy(logits, truth) == pytest.approx((2 / 3 + 1) / 2)
    score = accuracy.macro_score(logits, truth)
    assert score.top1 == pytest.approx(5 / 6)
    assert score.low < score.top1 < score.high <= 1


@given(st.integers(0, 99))
def test_paired_macro_differences_are_tighter_than_those_of_strangers(seed):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(4).repeat_interleave(torch.tensor([40, 30, 20, 10]))
    one = torch.where(torch.rand(100, generator=generator) < 0.6, truth, (truth + 1) % 4)
    other = torch.where(torch.rand(100, generator=generator) < 0.1, truth, one)  # mostly the same, sometimes better
    first, second = (torch.nn.functional.one_hot(p, 4).float() for p in (other, one))
    found = accuracy.paired_macro_difference(first, second, truth)
    expected = accuracy.macro_accuracy(first, truth) - accuracy.macro_accuracy(second, truth)
    assert found.top1 == pytest.approx(expected)
    assert found.low <= expected <= found.high
    alone = [accuracy.macro_score(logits, truth) for logits in (first, second)]
    assert found.high - found.low < sum((score.high - score.low) ** 2 for score in alone) ** 0.5


def test_a_difference_of_rankings_is_that_of_their_mean_average_precisions_and_nothing_against_itself():
    dice = torch.Generator().manual_seed(0)
    targets = (torch.rand(200, 5, generator=dice) < 0.3).int()
    targets[:, 4] = 0  # a class without a positive does not count
    good = targets + torch.randn(200, 5, generator=dice)
    bad = targets + 4 * torch.randn(200, 5, generator=dice)
    found = accuracy.map_difference(good, bad, targets)
    first, second = (mean_average_precision(scores, targets, absent="ignore") for scores in (good, bad))
    assert found.top1 == pytest.approx(first - second)
    assert 0 < found.low < found.top1 < found.high
    none = accuracy.map_difference(good, good, targets)
    assert (none.low, none.top1, none.high) == (0, 0, 0)


def test_a_resample_weighs_a_image_as_often_as_it_is_drawn():
    """Against the plain way: draw rows, copy them, measure; the copies of a row follow each other in either order."""
    dice = np.random.default_rng(0)
    scores, targets = dice.random((30, 2)), (dice.random((30, 2)) < 0.5).astype(int)
    drawn = dice.multinomial(30, np.full(30, 1 / 30), size=3)
    weighted = accuracy._weighted_map(torch.tensor(scores), torch.tensor(targets), drawn)
    for weights, value in zip(drawn, weighted, strict=True):
        rows = np.repeat(np.arange(30), weights)
        copied = mean_average_precision(scores[rows], targets[rows], absent="ignore")
        assert value == pytest.approx(copied, abs=0.05)
