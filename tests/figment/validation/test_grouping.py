import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from figment.validation import grouping_softmax
from figment.validation.grouping import presence_probabilities

cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 9))


def draw(case: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    seed, rows, classes = case
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * 8
    requested = torch.rand(rows, classes, generator=generator) < 0.4
    requested[torch.arange(rows), torch.randint(classes, (rows,), generator=generator)] = True
    return logits, requested


def by_definition(logits: Tensor, requested: Tensor) -> Tensor:
    """The spec's formula written out, one class at a time."""
    result = torch.zeros_like(logits)
    for b in range(len(logits)):
        e = logits[b].exp()
        true, rest = [p for p in range(len(e)) if requested[b, p]], [m for m in range(len(e)) if not requested[b, m]]
        for p in true:
            result[b, p] = e[p] / (e[p] + sum(e[m] for m in rest))
        for m in rest:
            result[b, m] = sum(e[m] / (e[p] + sum(e[n] for n in rest)) for p in true) / len(true)
    return result


@given(cases)
def test_it_is_the_definition(case):
    assert torch.allclose(grouping_softmax(*draw(case)), by_definition(*draw(case)), atol=1e-12)


@given(cases)
def test_a_row_sums_to_one_plus_the_other_groups_shares(case):
    logits, requested = draw(case)
    v = grouping_softmax(logits, requested)
    count = requested.sum(1)
    mean = (v * requested).sum(1) / count
    expected = torch.where(
        count == logits.shape[1], count.double(), 1 + (count - 1) * mean
    )  # no others: each is certain
    assert torch.allclose(v.sum(1), expected, atol=1e-9)


@given(cases, st.floats(-500, 500))
def test_only_differences_of_logits_matter(case, shift):
    logits, requested = draw(case)
    assert torch.allclose(grouping_softmax(logits + shift, requested), grouping_softmax(logits, requested), atol=1e-9)


@given(cases)
def test_a_requested_class_does_not_see_the_other_requested_ones(case):
    logits, requested = draw(case)
    v = grouping_softmax(logits, requested)
    for b in range(len(logits)):
        first, *others = requested[b].nonzero()[:, 0].tolist()
        changed = logits.clone()
        changed[b, others] += 5
        assert torch.isclose(grouping_softmax(changed, requested)[b, first], v[b, first])


@given(cases)
def test_a_batch_is_its_rows(case):
    logits, requested = draw(case)
    alone = torch.cat([grouping_softmax(u[None], t[None]) for u, t in zip(logits, requested, strict=True)])
    assert torch.equal(grouping_softmax(logits, requested), alone)


@settings(deadline=None)
@given(cases)
def test_the_gradient_is_that_of_finite_differences(case):
    logits, requested = draw(case)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda u: grouping_softmax(u, requested), logits, atol=1e-5)


@given(cases)
def test_presence_is_what_the_class_would_get_had_it_been_requested_too(case):
    logits, requested = draw(case)
    presence = presence_probabilities(logits, requested)
    for c in range(logits.shape[1]):
        also = requested.clone()
        also[:, c] = True
        assert torch.allclose(presence[:, c], grouping_softmax(logits, also)[:, c], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_give_finite_probabilities_and_gradients(dtype):
    logits = torch.tensor([[100.0, -100.0, 60000.0], [0.0, -60000.0, 3.0]], dtype=dtype, requires_grad=True)
    requested = torch.tensor([[True, True, False], [True, True, True]])
    v = grouping_softmax(logits, requested)
    v.sum().backward()
    assert v.dtype == torch.float32
    assert v.isfinite().all()
    assert logits.grad.isfinite().all()
    assert v[1].tolist() == [1, 1, 1]  # with every class requested nothing competes


def test_half_precision_logits_are_computed_in_single():
    logits = torch.randn(4, 17, generator=torch.Generator().manual_seed(0)).half() * 10
    requested = torch.eye(17, dtype=torch.bool)[:4]
    assert torch.allclose(grouping_softmax(logits, requested), grouping_softmax(logits.float(), requested))


@pytest.mark.parametrize(
    ("logits", "requested", "sentence"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool), "a row asks for no class"),
        (torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool), r"must be \(B, C\)"),
        (torch.zeros(2, 3), torch.ones(2, 3), "the second bool"),
        (torch.zeros(3), torch.ones(3, dtype=torch.bool), r"must be \(B, C\)"),
    ],
)
def test_what_makes_no_sense_is_refused(logits, requested, sentence):
    with pytest.raises(ValueError, match=sentence):
        grouping_softmax(logits, requested)
