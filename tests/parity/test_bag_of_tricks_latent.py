"""Golden values of the latent study (sec. 4.2.2): how far points spread that are interpolated among embeddings."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.latent.samplers import SAMPLERS, hull, mean_cosine, moments, triples
from figment.errors import InputError


def circle(n: int) -> torch.Tensor:
    angle = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n
    return torch.stack([angle.cos(), angle.sin()], 1)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("sampler", "radius", "tolerance"), [("hull", 0.1280, 0.002), ("triples", 0.7011, 0.005)])
def test_on_a_circle_the_hull_collapses_to_the_centre_and_triples_fill_the_disc(sampler, radius, tolerance):
    points = SAMPLERS[sampler](60, 20_000, dice()) @ circle(60)
    assert float(points.square().sum(1).mean().sqrt()) == pytest.approx(radius, abs=tolerance)
    assert mean_cosine(circle(60)) == pytest.approx(-1 / 59)
    assert math.sqrt(moments(sampler, 60, -1 / 59).length) == pytest.approx(radius, abs=5e-5)


def test_of_sixty_embeddings_triples_spread_thirty_times_as_much():
    ratio = moments("triples", 60, 0.6).variance / moments("hull", 60, 0.6).variance
    assert ratio == pytest.approx(29.98, abs=0.005)
    assert math.sqrt(ratio) == pytest.approx(5.5, abs=0.05)


@given(st.sampled_from(sorted(SAMPLERS)), st.integers(3, 40), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_closed_forms_hold_for_any_unit_vectors(sampler, n, seed):
    vectors = F.normalize(torch.randn(n, 8, generator=dice(seed), dtype=torch.float64) + 0.5, dim=1)
    points = SAMPLERS[sampler](n, 20_000, dice(seed)) @ vectors
    expected = moments(sampler, n, mean_cosine(vectors))
    assert float(points.square().sum(1).mean()) == pytest.approx(expected.length, rel=0.03)
    variance = (points - vectors.mean(0)).square().sum(1).mean()
    assert float(variance) == pytest.approx(expected.variance, rel=0.06)


@given(st.integers(3, 60), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_weights_are_a_mixture_of_all_or_of_three(n, seed):
    for sampler, members in ((hull, n), (triples, 3)):
        weights = sampler(n, 50, dice(seed))
        assert (weights >= 0).all()
        assert torch.allclose(weights.sum(1), torch.ones(50, dtype=torch.float64))
        assert (weights > 0).sum(1).tolist() == [members] * 50


def test_triples_need_three():
    with pytest.raises(InputError, match="2 images of a class; interpolating three"):
        triples(2, 5, dice())
