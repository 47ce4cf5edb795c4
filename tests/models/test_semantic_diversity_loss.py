import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.losses import SemanticDiversityLoss
from models.semantic_diversity_loss import row_spread, semantic_diversity


def slow_loss(matrix, targets, vectors, regularisation, unknown, pooling, weighted):
    """(value per image, 0 without a label), one pair at a time in Python's float64."""
    losses = []
    for a, y in zip(matrix.tolist(), targets.tolist(), strict=True):
        scores = []
        for w in vectors.tolist():
            products = [sum(x * z for x, z in zip(row, w, strict=True)) for row in a]
            scores.append(max(products) if pooling == "max" else sum(products) / len(products))
        positive = [j for j, value in enumerate(y) if value > 0]
        negative = [j for j, value in enumerate(y) if value == 0 or (value < 0 and unknown == "negative")]
        if not positive:
            losses.append(0.0)
            continue
        rank = 0.0
        for p in positive:
            for other in [scores[n] for n in negative] or [0.0]:
                margin = other - scores[p]
                rank += max(margin, 0.0) + math.log1p(math.exp(-abs(margin)))
        rank /= len(positive)
        chosen = [vectors[p].tolist() for p in positive]
        weight = 1 + (variance(chosen) if weighted else 0)
        loss = weight * rank
        if regularisation is not None:
            loss = 2 * ((1 - regularisation) * loss + regularisation * variance(a))
        losses.append(loss)
    return losses


def variance(rows):
    if len(rows) < 2:
        return 0.0
    total = 0.0
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        total += sum((value - mean) ** 2 for value in column) / (len(column) - 1)
    return total


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 6)),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    regularisation=st.sampled_from([None, 0.0, 0.01, 0.3, 1.0]),
    unknown=st.sampled_from(["ignore", "negative"]),
    pooling=st.sampled_from(["max", "mean"]),
    weighted=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_it_is_the_sum_over_pairs(shape, seed, scale, regularisation, unknown, pooling, weighted, dtype):
    batch, rows, labels, dim = shape
    generator = torch.Generator().manual_seed(seed)
    matrix = (scale * torch.randn(batch, rows, dim, generator=generator)).to(dtype).requires_grad_()
    vectors = torch.randn(labels, dim, generator=generator).to(dtype)
    targets = torch.randint(-1, 2, (batch, labels), generator=generator)
    slow = slow_loss(matrix.double(), targets, vectors.double(), regularisation, unknown, pooling, weighted)
    expected = torch.tensor(slow, dtype=torch.float64)
    loss = SemanticDiversityLoss(regularisation, weighted, pooling, unknown, "none")
    found = loss(matrix, targets, vectors)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4  # scores near 0 are differences of large products in float32
    assert torch.allclose(found.double(), expected, rtol=tolerance, atol=tolerance * scale)
    labelled = int((targets > 0).any(1).sum())
    assert loss.skipped == batch - labelled
    loss.reduction = "mean"
    assert loss(matrix, targets, vectors).item() == pytest.approx(found.sum().item() / max(labelled, 1), rel=1e-5)
    found.sum().backward()
    assert matrix.grad.isfinite().all()


@pytest.mark.parametrize("regularisation", [None, 0.3])
@pytest.mark.parametrize("unknown", ["ignore", "negative"])
def test_its_gradient_is_that_of_its_value(regularisation, unknown):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64).requires_grad_()
    vectors = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[1, 0, -1, 1, 0, 0], [0, 0, -1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [-1, -1, -1, -1, 1, -1]])
    loss = SemanticDiversityLoss(regularisation, unknown=unknown, reduction="none")
    assert torch.autograd.gradcheck(lambda a: loss(a, targets, vectors), (matrix,))


def test_more_pairs_than_one_block_add_up():
    """400 labels x 500 candidates for each of two images: several blocks."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 2, 8, generator=generator, dtype=torch.float64)
    vectors = torch.randn(500, 8, generator=generator, dtype=torch.float64)
    targets = (torch.arange(500) < 400).long().expand(2, -1)
    expected = slow_loss(matrix, targets, vectors, None, "ignore", "max", True)
    found = SemanticDiversityLoss(None, reduction="none")(matrix, targets, vectors)
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


def test_a_image_without_a_label_changes_nothing_but_the_count():
    generator = torch.Generator().manual_seed(0)
    matrix, vectors = torch.randn(3, 2, 4, generator=generator), torch.randn(5, 4, generator=generator)
    targets = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]])
    loss = SemanticDiversityLoss()
    together = loss(matrix, targets, vectors)
    assert loss.skipped == 1
    assert torch.equal(together, loss(matrix[[0, 2]], targets[[0, 2]], vectors))
    assert loss.skipped == 0


def test_a_batch_without_any_label_has_no_loss_and_no_gradient():
    matrix = torch.randn(2, 3, 4, requires_grad=True)
    loss = SemanticDiversityLoss()
    value = loss(matrix, torch.zeros(2, 5), torch.randn(5, 4))
    value.backward()
    assert value.item() == 0
    assert loss.skipped == 2
    assert not matrix.grad.any()


def test_half_precision_is_computed_in_float32():
    generator = torch.Generator().manual_seed(0)
    matrix, vectors = torch.randn(2, 2, 8, generator=generator).half(), torch.randn(9, 8, generator=generator)
    targets = torch.eye(9)[:2]
    with torch.autocast("cpu", torch.bfloat16):
        found = SemanticDiversityLoss()(matrix, targets, vectors)
    assert found.dtype == torch.float32
    assert torch.equal(found, SemanticDiversityLoss()(matrix.float(), targets, vectors))


def test_max_lets_rows_specialise_where_mean_cannot():
    """Two opposite labels: one row for each ranks both above the rest, their mean ranks neither."""
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    matrix, targets = 9 * vectors[None, :2], torch.tensor([[1, 1, 0]])
    by_max = SemanticDiversityLoss(None, pooling="max")(matrix, targets, vectors)
    by_mean = SemanticDiversityLoss(None, pooling="mean")(matrix, targets, vectors)
    assert by_max < 1e-2
    assert by_mean == pytest.approx((1 + 2) * math.log(2))


def test_diversity_is_the_mean_over_pairs_of_one_minus_cosine():
    vectors = torch.nn.functional.normalize(
        torch.randn(6, 20, generator=torch.Generator().manual_seed(0)).double(), dim=1
    )
    first, second = torch.combinations(torch.arange(4)).unbind(1)
    expected = (1 - (vectors[first] * vectors[second]).sum(1)).mean()
    positive = torch.tensor([[True] * 4 + [False] * 2])
    assert semantic_diversity(positive, vectors).item() == pytest.approx(expected.item(), rel=1e-12)


def test_rows_that_agree_have_no_spread():
    assert not row_spread(torch.ones(2, 5, 3)).any()
    assert not row_spread(torch.randn(2, 1, 3)).any()


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"targets \(2, 4\).*expected \(B, M, D\), \(B, N\), \(N, D\)"):
        SemanticDiversityLoss()(torch.zeros(2, 3, 5), torch.zeros(2, 4), torch.zeros(6, 5))
    with pytest.raises(ValueError, match=r"regularisation is 3; it is a share"):
        SemanticDiversityLoss(3)
