import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from benchmarks.filter_quality import Share, filter_quality


def test_of_ten_images():
    passed = [True] * 4 + [False] * 6
    right = [True] * 3 + [False] + [True] * 2 + [False] * 4
    found = filter_quality(passed, right)
    assert (found.unfiltered.value, found.unfiltered.trials) == (0.5, 10)
    assert (found.accepted.value, found.accepted.trials) == (0.75, 4)
    assert (found.rejected.value, found.rejected.trials) == (pytest.approx(1 / 3), 6)
    assert (found.recall.value, found.recall.trials) == (pytest.approx(3 / 5), 5)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_interval_is_clopper_and_pearsons(successes):
    share = Share.of(np.array(successes))
    expected = binomtest(sum(successes), len(successes)).proportion_ci(0.95, "exact")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert share.low <= share.value <= share.high


def test_nothing_is_known_of_none():
    found = filter_quality([True, True], [False, False])
    assert (found.rejected.trials, found.recall.trials) == (0, 0)
    assert (found.rejected.low, found.rejected.high) == (0, 1)
    assert math.isnan(found.recall.value)
