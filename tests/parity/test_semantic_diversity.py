"""Golden values of "Semantic Diversity Learning for Zero-Shot Multi-label Classification" (Ben-Cohen et al. 2021) and of
its published code."""

import math

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from models.losses import SemanticDiversityLoss
from models.semantic_diversity_loss import row_spread, semantic_diversity
from models.semantic_matrix import SemanticMatrix, label_scores


def det(shape: tuple[int, ...], a: float, b: float) -> torch.Tensor:
    return torch.from_numpy(np.sin(a * np.arange(math.prod(shape)) + b).astype(np.float32)).reshape(shape)


def as_matrix(flat: torch.Tensor, rows: int) -> torch.Tensor:
    """The published layout, (B, D * M) dimension-major, as (B, M, D)."""
    return flat.unflatten(1, (-1, rows)).transpose(1, 2)


VECTORS = F.normalize(det((300, 6), 0.37, 0.1), dim=0).t()
MATRIX = as_matrix(0.3 * det((3, 600), 0.011, 0.5), 2)
TARGETS = torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
golden = pytest.mark.parametrize(
    ("regularisation", "mean", "each"),
    [
        (0.3, 4.0858107, [6.0362129, 4.8519177, 1.3693017]),
        (0.01, 5.7778373, [8.5362444, 6.8613327, 1.9359319]),
        (None, 2.9180915, [4.3112264, 3.4653115, 0.9777365]),
    ],
)


@golden
@pytest.mark.parametrize("dtype", [torch.long, torch.float32])
def test_loss(regularisation, mean, each, dtype):
    """The third picture has no negative label and is ranked against a score of 0."""

    def loss(reduction):
        return SemanticDiversityLoss(regularisation, reduction=reduction)(MATRIX, TARGETS.to(dtype), VECTORS)

    assert loss("mean").item() == pytest.approx(mean, rel=1e-5)
    assert loss("sum").item() == pytest.approx(sum(each), rel=1e-5)
    assert loss("none").tolist() == pytest.approx(each, rel=1e-5)


@pytest.mark.parametrize(("regularisation", "expected"), [(None, 0.4401897), (0.3, 2.1162655), (0.01, 0.9215757)])
def test_loss_of_two_axes(regularisation, expected):
    vectors = torch.eye(300)[:3]
    matrix = torch.stack([2 * vectors[0], vectors[1]])[None]
    assert SemanticDiversityLoss(regularisation)(matrix, torch.tensor([[1, 1, 0]]), vectors).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert row_spread(matrix).item() == pytest.approx(2.5)


@pytest.mark.parametrize(("labels", "expected"), [([0], 5 * math.log(2)), ([0, 1], 2.9602197)])
def test_loss_of_a_matrix_of_zeros(labels, expected):
    """R is divided by the number of positives alone, so it grows with the vocabulary."""
    targets = torch.zeros(1, 6)
    targets[0, labels] = 1
    assert SemanticDiversityLoss(None)(torch.zeros(1, 2, 300), targets, VECTORS).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(("labels", "expected"), [([0], 0), ([0, 1], 0.0676736), (range(6), 0.4096194)])
def test_semantic_diversity(labels, expected):
    positive = torch.tensor([[label in labels for label in range(6)]])
    assert semantic_diversity(positive, VECTORS).item() == pytest.approx(expected, rel=1e-5)


def test_row_spread():
    assert row_spread(MATRIX)[0].item() == pytest.approx(8.268392e-4, rel=1e-5)
    assert row_spread(MATRIX)[0].item() == pytest.approx(
        (MATRIX[0, 0] - MATRIX[0, 1]).square().sum().item() / 2, rel=1e-5
    )


def test_a_target_of_minus_one_is_a_negative_only_by_choice_unlike_the_published_code():
    targets, known = torch.tensor([[1, 0, -1, -1, -1, -1]]), torch.tensor([[1, 0]])
    matrix = MATRIX[:1]
    ignored = SemanticDiversityLoss()(matrix, targets, VECTORS)
    assert ignored.item() == pytest.approx(SemanticDiversityLoss()(matrix, known, VECTORS[:2]).item(), rel=1e-6)
    as_negative = SemanticDiversityLoss(unknown="negative")(matrix, targets, VECTORS)
    assert torch.equal(as_negative, SemanticDiversityLoss()(matrix, targets.clamp(min=0), VECTORS))


def test_no_label_one_row_and_a_margin_of_200_are_finite_unlike_the_published_code():
    loss = SemanticDiversityLoss(0.3, reduction="none")
    vectors = torch.eye(2)
    assert loss(MATRIX, 0 * TARGETS, VECTORS).tolist() == [0, 0, 0]
    assert loss.skipped == 3
    assert loss(torch.tensor([[[0.0, 200.0]]]), torch.tensor([[1, 0]]), vectors).tolist() == pytest.approx(
        [2 * 0.7 * 200]
    )


def test_layout_is_dimension_major():
    model = SemanticMatrix(torch.nn.Identity(), features=8, rows=2, dim=4)
    model.embedding.weight.data = torch.eye(8)
    model.mean, model.std = torch.zeros(1), torch.ones(1)
    assert model(torch.arange(8.0)[None]).tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7]]]


def test_ranking_of_labels_and_of_pictures():
    matrix = as_matrix(torch.tensor([[2.0, 0, 0, 1], [0, 0, 3, 1]]), 2)
    scores = label_scores(matrix, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])).scores
    assert scores.argsort(dim=1, descending=True, stable=True).tolist() == [[0, 2, 1], [1, 2, 0]]
    assert scores.flatten().tolist() == pytest.approx([2, 1, 1.2, 0, 3, 2.4])


@pytest.mark.parametrize(("rows", "parameters"), [(7, 33_640_832), (2, 30_568_832)])
def test_tresnet_m_has_the_published_parameters(rows, parameters):
    backbone = timm.create_model("tresnet_m", num_classes=0)
    assert sum(p.numel() for p in backbone.parameters()) == 29_340_032
    model = SemanticMatrix(backbone, 2048, rows, 300).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert not model.mean.any()  # the paper's pixels stay as they are, in [0, 1]
    assert (model.std == 1).all()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, rows, 300)


@pytest.mark.slow
def test_tresnet_m_takes_pictures_of_608_px():
    model = SemanticMatrix(timm.create_model("tresnet_m", num_classes=0), 2048, 2, 300).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 608, 608)).shape == (1, 2, 300)


def nus_targets(nus_wide, *tags: str) -> torch.Tensor:
    targets = torch.zeros(1, len(nus_wide.names))
    targets[0, [nus_wide.names.index(tag) for tag in tags]] = 1
    return targets


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("sky", "clouds"), 1.4354),
        (("dog", "cat"), 1.3619),
        (("dog", "beach"), 1.8241),
        (("sky", "clouds", "sea", "sunset"), 1.6102),
    ],
)
def test_diversity_weights_of_nus_wide_tags(nus_wide, tags, expected):
    weight = 1 + semantic_diversity(nus_targets(nus_wide, *tags) > 0, nus_wide.vectors)
    assert weight.item() == pytest.approx(expected, abs=5e-5)


def test_a_matrix_beats_one_vector_on_two_unlike_tags(nus_wide):
    targets = nus_targets(nus_wide, "dog", "beach")
    matrix = nus_wide.vectors[targets[0] > 0][None]
    loss = SemanticDiversityLoss(None)
    assert loss(matrix, targets, nus_wide.vectors).item() == pytest.approx(708.98, rel=1e-5)
    assert loss(matrix.mean(1, keepdim=True), targets, nus_wide.vectors).item() == pytest.approx(952.90240, rel=1e-5)
    zeros = SemanticDiversityLoss(0.3)(0 * matrix, targets, nus_wide.vectors)
    assert zeros.item() == pytest.approx(1777, abs=0.5)
