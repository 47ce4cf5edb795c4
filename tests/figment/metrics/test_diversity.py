import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from figment.errors import InputError
from figment.metrics.diversity import (
    Labelled,
    compare_sets,
    diversity_ledger,
    frechet_distance,
    mean_pairwise_distance,
    nearest_radius,
    reach,
    vendi_score,
)


def units(n: int, d: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


sets = st.builds(units, st.integers(2, 40), st.integers(2, 24), st.integers(0, 99))


@given(st.integers(1, 30), st.integers(1, 20))
def test_identical_images_count_as_one(n, d):
    same = units(1, d, 0).expand(n, d)
    assert vendi_score(same) == pytest.approx(1)
    if n > 1:
        assert mean_pairwise_distance(same) == pytest.approx(0, abs=1e-12)


@given(st.integers(1, 24))
def test_images_at_right_angles_count_each(n):
    assert vendi_score(torch.eye(n, 24)) == pytest.approx(n)
    if n > 1:
        assert mean_pairwise_distance(torch.eye(n, 24)) == pytest.approx(1)


def test_two_groups_of_equal_images_count_as_two():
    assert vendi_score(torch.eye(2)[[0, 0, 0, 1, 1, 1]]) == pytest.approx(2)


def test_two_images_at_an_angle_by_hand():
    """Kernel [[1, c], [c, 1]] / 2 has eigenvalues (1 +- c) / 2."""
    c = 0.6
    pair = torch.tensor([[1.0, 0.0], [c, (1 - c * c) ** 0.5]])
    p = np.array([(1 + c) / 2, (1 - c) / 2])
    assert vendi_score(pair) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert mean_pairwise_distance(pair) == pytest.approx(1 - c)


@given(sets)
def test_vendi_lies_between_one_and_the_number_of_images_and_forgets_their_order(features):
    score = vendi_score(features)
    assert 1 - 1e-9 <= score <= min(features.shape) + 1e-9
    assert vendi_score(features.flip(0)) == pytest.approx(score)
    assert vendi_score(features.repeat(3, 1)) == pytest.approx(score)  # copies add no diversity


@given(sets)
def test_mean_pairwise_distance_is_the_mean_over_pairs(features):
    cosines = features @ features.t()
    pairs = cosines[~torch.eye(len(features), dtype=torch.bool)]
    assert mean_pairwise_distance(features) == pytest.approx(float(1 - pairs.mean()))


@settings(max_examples=25)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(2, 6), st.integers(0, 50))
def test_frechet_distance_is_heusels(n, m, d, seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, d, generator=generator, dtype=torch.float64)
    b = 2 * torch.randn(m, d, generator=generator, dtype=torch.float64) + 1
    ca, cb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = np.trace(np.real(sqrtm(ca @ cb)))
    expected = float(((a.mean(0) - b.mean(0)) ** 2).sum()) + np.trace(ca) + np.trace(cb) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-6, abs=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 3) == pytest.approx(9 * d, rel=1e-6)  # the same shape elsewhere


@given(st.integers(6, 40), st.integers(1, 5), st.integers(0, 50))
def test_a_balls_radius_is_the_distance_to_the_kth_neighbour(n, k, seed):
    features = units(n, 4, seed)
    expected, _ = NearestNeighbors(n_neighbors=k).fit(features.numpy()).kneighbors()
    assert torch.allclose(nearest_radius(features, k), torch.from_numpy(expected[:, -1]), atol=1e-6)


def test_reach_on_a_line_by_hand():
    """Real 0, 1, 2, 10 have radii 1, 1, 1, 8 (k = 1); synthetic 0.5, 1.5, 30 have 1, 1, 28.5."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    synthetic = torch.tensor([[0.5], [1.5], [30.0]])
    found = reach(real, synthetic, k=1)
    assert found.precision == pytest.approx(2 / 3)  # 30 is in no one's ball
    assert found.recall == 1  # 0, 1, 2 by the near two, 10 by the far ball of 30
    # 0.5 is in the balls of 0 and 1; of 2? |2 - 0.5| = 1.5 > 1; of 10? 9.5 > 8. 1.5 in those of 1, 2; of 10? 8.5 > 8
    assert found.density == pytest.approx((2 + 2 + 0) / 3)
    assert found.coverage == pytest.approx(3 / 4)  # the ball of 10 is empty


@given(st.integers(7, 30), st.integers(7, 30), st.integers(0, 50))
def test_a_set_reaches_itself_wholly_and_a_far_one_not_at_all(n, m, seed):
    a, b = units(n, 8, seed), units(m, 8, seed + 1)
    itself, far = reach(a, a), reach(a, b + 100)
    assert (itself.precision, itself.recall, itself.coverage) == (1, 1, 1)
    assert itself.density >= 1
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    both = reach(a, b)
    assert both.precision == pytest.approx(reach(b, a).recall)  # Kynkaanniemi's two are each other's mirror


def test_too_few_images_have_no_kth_neighbour():
    with pytest.raises(InputError, match="5 images have no 5-th nearest neighbour; give 6 or more"):
        reach(units(5, 3, 0), units(9, 3, 1))


def test_the_ledger_puts_the_varied_set_before_the_narrow_one():
    real = torch.cat([units(40, 16, 1), units(40, 16, 2)])
    labels = torch.arange(80) // 40
    centre = F.normalize(real[:1] + 0 * real, dim=1)
    narrow = F.normalize(centre + 0.1 * units(80, 16, 3), dim=1)
    varied = units(80, 16, 4)
    rich, poor = (
        diversity_ledger(Labelled(x, labels), Labelled(real, labels), ["cat", "dog"]) for x in (varied, narrow)
    )
    assert rich.vendi > poor.vendi
    assert rich.distance > poor.distance
    assert rich.reach.recall > poor.reach.recall
    assert rich.reach.coverage > poor.reach.coverage
    assert rich.frechet < poor.frechet
    assert [line.name for line in rich.classes] == ["cat", "dog"]
    assert rich.vendi == pytest.approx(np.mean([line.vendi for line in rich.classes]))


def test_the_ledger_compares_at_equal_numbers():
    real, labels = units(40, 8, 1), torch.arange(40) % 2
    ledger = diversity_ledger(Labelled(real, labels), Labelled(real, labels), ["cat", "dog"], per_class=10)
    assert [line.images for line in ledger.classes] == [10, 10]
    with pytest.raises(InputError, match="20 images of cat; per_class asks for 21"):
        diversity_ledger(Labelled(real, labels), Labelled(real, labels), ["cat", "dog"], per_class=21)
    with pytest.raises(InputError, match="0 synthetic images of eel; 5 nearest neighbours need 6"):
        diversity_ledger(Labelled(real, labels), Labelled(real, labels), ["cat", "dog", "eel"])


def test_sets_are_compared_at_the_size_of_the_smallest_class_of_any():
    names, real = ["a", "b"], units(40, 8, 1)
    real = Labelled(real, torch.arange(40) % 2)
    big, small = units(60, 8, 2), units(21, 8, 3)
    sets = {"big": Labelled(big, torch.arange(60) % 2), "small": Labelled(small, torch.arange(21) % 2)}
    ledgers = compare_sets(sets, real, names)
    assert {line.images for ledger in ledgers.values() for line in ledger.classes} == {10}
    assert {line.images for line in compare_sets(sets, real, names, most=7)["big"].classes} == {7}
    assert compare_sets(sets | {"few": Labelled(units(10, 8, 4), torch.arange(10) % 2)}, real, names) == {}
    assert compare_sets({"lacks b": Labelled(big, torch.zeros(60, dtype=torch.long))}, real, names) == {}
