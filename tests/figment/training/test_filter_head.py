"""The filter: how sure it is, and by which images that is found out."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.training.config import HeadConfig
from figment.training.filter_head import cross_fitted_logits, fit_filter, fit_temperature
from figment.training.head import FeatureSet, HeadTraining

CONFIG = HeadConfig(steps=200, batch_size=16, learning_rate=0.05)


def calibrated(count: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose softmax is the very law that the labels are drawn by."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()


@given(st.floats(0.15, 8), st.integers(0, 9))
def test_the_temperature_of_overconfident_logits_is_found(temperature, seed):
    logits, labels = calibrated(4000, 5, seed)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.1)


@given(st.integers(0, 30))
def test_no_other_temperature_is_better(seed):
    logits, labels = calibrated(60, 4, seed)
    best = fit_temperature(logits, labels)
    loss = F.cross_entropy(logits.double() / best, labels)
    for other in (0.06, 0.5 * best, 0.99 * best, 1.01 * best, 2 * best, 19):
        assert loss <= F.cross_entropy(logits.double() / other, labels) + 1e-9


def test_where_nothing_is_wrong_a_low_temperature_makes_all_sure():
    logits, labels = 5 * torch.eye(4), torch.arange(4)
    assert 0.05 <= fit_temperature(logits, labels) < 0.2
    assert F.cross_entropy(logits / fit_temperature(logits, labels), labels) < 1e-6


def shots(count: int, seed: int, spread: float = 0.5) -> FeatureSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat_interleave(count)
    features = torch.eye(3)[labels][:, None] + spread * torch.randn(3 * count, 4, 3, generator=generator)
    return FeatureSet(features, labels)


def test_every_shot_is_judged_once_by_heads_that_never_saw_it():
    few = shots(4, 0, spread=0.2)
    mislabelled = FeatureSet(few.features, few.labels.clone())
    mislabelled.labels[0] = 2  # a memorised photo would get its wrong label
    logits, labels = cross_fitted_logits(mislabelled, HeadTraining(3, CONFIG, 0))
    assert len(labels) == 12 * 4
    assert torch.bincount(labels).tolist() == [12, 16, 20]
    tested = fit_filter(shots(4, 1), HeadTraining(3, CONFIG, 0))
    assert float((tested.probabilities(few.features).argmax(1) == few.labels).float().mean()) > 0.8
    own = (logits.argmax(1) == 0)[labels == 2].float().mean()
    assert own > 0.15  # the mislabelled one is called by its true class


def test_held_out_photos_calibrate_instead_if_there_are_any():
    held_out = shots(30, 5)
    one_view = FeatureSet(held_out.features[:, :1], held_out.labels)
    found, alone = (
        fit_filter(shots(4, 0), HeadTraining(3, CONFIG, 0, one_view)),
        fit_filter(shots(4, 0), HeadTraining(3, CONFIG, 0)),
    )
    assert found.temperature != alone.temperature
    assert found.error_after <= found.error_before + 0.05
    probabilities = found.probabilities(held_out.features)
    assert probabilities.shape == (90, 3)
    assert torch.allclose(probabilities.sum(1), torch.ones(90))


def test_a_single_shot_cannot_be_cross_fitted():
    with pytest.raises(InputError, match="weights: a class has one shot"):
        fit_filter(shots(1, 0), HeadTraining(3, CONFIG, 0))
