import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import TaggedImages
from figment.evaluation.row_spread import direction_spread, spread_correlation
from figment.training.config import SemanticConfig
from figment.training.semantic import build_semantic_matrix
from models.semantic_diversity_loss import semantic_diversity

NAMES = ("dog", "cat", "dogs", "bus", "elk", "sky")
VECTORS = LabelVectors.of(NAMES, torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), "test")


def images(count: int, seed: int) -> TaggedImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return TaggedImages(pixels, (torch.rand(count, 6, generator=generator) < 0.4).to(torch.int8))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_semantic_matrix(SemanticConfig(model="test_resnet", image_size=32, rows=3), 8).eval()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 999))
def test_direction_spread_is_the_mean_over_pairs_of_one_minus_cosine(rows, dim, seed):
    matrix = torch.randn(4, rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    pairs = [(i, j) for i in range(rows) for j in range(i)]
    expected = [
        sum(1 - float(torch.cosine_similarity(a[i], a[j], 0)) for i, j in pairs) / max(1, len(pairs)) for a in matrix
    ]
    assert direction_spread(matrix).tolist() == pytest.approx(expected, abs=1e-9)
    assert torch.allclose(direction_spread(3 * matrix), direction_spread(matrix))


def test_the_correlation_is_spearmans_of_spread_and_diversity(model):
    chosen = images(40, 3)
    found = spread_correlation(model, chosen, VECTORS, batch_size=7)
    with torch.inference_mode():
        spread = direction_spread(model(chosen.pixels.float() / 255))
    diversity = semantic_diversity(chosen.targets > 0, VECTORS.vectors)
    several = chosen.targets.sum(1) > 1
    assert found.all == pytest.approx(spearmanr(spread, diversity).statistic, abs=1e-6)
    assert found.with_two_or_more == pytest.approx(spearmanr(spread[several], diversity[several]).statistic, abs=1e-6)


def test_a_single_row_has_no_correlation():
    torch.manual_seed(0)
    single = build_semantic_matrix(SemanticConfig(model="test_resnet", image_size=32, rows=1), 8)
    assert all(math.isnan(value) for value in spread_correlation(single, images(20, 0), VECTORS))
