import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.metrics.learning_curve import LearningCurve, fit_curves, next_gain

SIZES = (300, 600, 900, 1200)


@given(st.floats(0, 0.4), st.floats(0.5, 5), st.sampled_from([0.3, 0.5, 0.8, 1.2]))
def test_a_curve_without_noise_is_found_again(a, b, k):
    truth = LearningCurve(a, b, k)
    (found,) = fit_curves(SIZES, np.array([[truth.at(n) for n in SIZES]]))
    for size in (*SIZES, 2400):
        assert found.at(size) == pytest.approx(truth.at(size), abs=1e-3)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_whatever_was_measured_the_curve_falls_and_is_no_negative_error(errors):
    for curve in fit_curves(SIZES, np.array(errors)):
        assert curve.a >= 0
        assert curve.b >= 0
        assert curve.at(300) >= curve.at(1200) >= curve.at(9999) >= 0


def wrong(errors, images: int = 1000) -> np.ndarray:
    """A classifier a row, wrong about this share of the images, the hardest first."""
    return np.stack([np.arange(images) < error * images for error in errors])


def test_a_steep_curve_promises_a_gain_and_a_flat_one_none():
    steep = next_gain(SIZES, wrong([0.60, 0.42, 0.34, 0.30]), 1500)
    flat = next_gain(SIZES, wrong([0.32, 0.305, 0.301, 0.30]), 1500)
    assert steep.low <= steep.value <= steep.high
    assert steep.value > 0.01
    assert flat.value < 0.005
