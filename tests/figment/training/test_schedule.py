import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.training.config import TrainingConfig
from figment.training.schedule import learning_rate


def test_with_steps_the_cosine_moves_every_step():
    config = TrainingConfig(steps=200, learning_rate=2e-4)
    rates = [learning_rate(config, step, 30, 200) for step in range(201)]
    assert rates[0] == 2e-4
    assert rates[100] == pytest.approx(1e-4)
    assert rates[200] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))


def test_one_cycle_rises_for_a_quarter_and_falls_to_almost_nothing():
    config = TrainingConfig(schedule="one_cycle", learning_rate=1.0)
    rates = [learning_rate(config, step, 10, 100) for step in range(100)]
    assert rates.index(max(rates)) in (24, 25)
    assert max(rates) == 1
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[-1] < 1e-3


@given(st.integers(1, 50), st.integers(1, 20), st.sampled_from(["cosine", "one_cycle"]), st.booleans())
def test_a_rate_is_positive_and_never_above_the_full_one(epochs, per_epoch, schedule, by_steps):
    steps = epochs * per_epoch
    config = TrainingConfig(epochs=epochs, steps=steps if by_steps else None, schedule=schedule, learning_rate=3e-3)
    for step in range(steps):
        rate = learning_rate(config, step, per_epoch, steps)
        assert 0 < rate <= 3e-3 * (1 + 1e-12)
        assert math.isfinite(rate)
