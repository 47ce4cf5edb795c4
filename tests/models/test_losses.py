import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses import AsymmetricLoss

seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seeds)
def test_without_focus_and_margin_it_is_binary_cross_entropy(seed):
    logits, targets = draw(seed, 4, 2, 7), (draw(seed + 1, 4, 7) > 0).double()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[:, 1] - logits[:, 0], targets, reduction="sum"
    )
    assert torch.isclose(AsymmetricLoss(0, 0, 0)(logits, targets), expected)


@given(seeds)
def test_logits_and_their_probabilities_agree(seed):
    logits, targets = draw(seed, 4, 2, 7), (draw(seed + 1, 4, 7) > 0).long()
    loss = AsymmetricLoss(2, 1)
    assert torch.isclose(loss(logits, targets), loss(logits.softmax(1)[:, 1], targets))


@given(seeds)
def test_a_batch_is_the_sum_of_its_rows(seed):
    probabilities, targets = draw(seed, 5, 6).sigmoid(), (draw(seed + 1, 5, 6) > 0).long()
    loss = AsymmetricLoss()
    rows = sum(loss(p, y) for p, y in zip(probabilities, targets, strict=True))
    assert torch.isclose(loss(probabilities, targets), rows)


@given(seeds)
def test_unknown_targets_neither_count_nor_learn(seed):
    logits = draw(seed, 3, 2, 5).requires_grad_()
    targets = torch.tensor([[1, 0, -1, -1, 0]] * 3)
    AsymmetricLoss(2, 1)(logits, targets).backward()
    assert not logits.grad[:, :, 2:4].any()
    kept = torch.tensor([0, 1, 4])
    assert torch.isclose(
        AsymmetricLoss(2, 1)(logits, targets), AsymmetricLoss(2, 1)(logits[:, :, kept], targets[:, kept])
    )


def test_easy_negatives_have_no_loss_and_no_gradient():
    probabilities = torch.tensor([[0.05, 0.03, 0.0]], requires_grad=True)
    loss = AsymmetricLoss()(probabilities, torch.zeros(1, 3))
    loss.backward()
    assert float(loss) == 0
    assert not probabilities.grad.any()


@pytest.mark.parametrize("size", [50.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_logits_have_finite_loss_and_a_gradient_where_they_are_wrong(size, dtype):
    logits = torch.tensor(
        [[[size, -size], [-size, size]]], dtype=dtype, requires_grad=True
    )  # sure of the wrong in both
    AsymmetricLoss(2, 1)(logits, torch.tensor([[1, 0]])).backward()
    assert logits.grad.isfinite().all()
    assert float(logits.grad[0, 1, 0]) < -0.5


def test_probabilities_of_zero_and_one_are_finite():
    probabilities = torch.tensor([[0.0, 1.0, 0.0, 1.0]], requires_grad=True)
    loss = AsymmetricLoss()(probabilities, torch.tensor([[1, 1, 0, 0]]))
    loss.backward()
    assert loss.isfinite()
    assert probabilities.grad.isfinite().all()


def test_a_floor_ends_the_gradient_of_what_is_less_probable():
    margins = torch.tensor([[[20.0, 2.0], [0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    targets = torch.ones(1, 2)
    for floor, learns in ((0.0, True), (1e-6, False), (1e-12, True)):
        (gradient,) = torch.autograd.grad(AsymmetricLoss(2, 1, eps_of_logits=floor)(margins, targets), margins)
        assert bool(gradient[0, 1, 0].abs() > 1e-3) == learns
        assert gradient[0, 1, 1].abs() > 0.1
