"""Weights of synthetic images: laws that hold for any of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.planning.sample_weights import (
    confidence_weight,
    effective_sizes,
    mean_effective_size,
    normalise_per_source,
    use_of,
)

WEIGHTS = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_confidence_weight_takes_numbers_arrays_and_tensors():
    assert confidence_weight(0.2) == pytest.approx(0.4)
    assert confidence_weight([0.5, 0.9]).tolist() == [1, 1]
    assert confidence_weight(np.array([[0.1]])).shape == (1, 1)
    found = confidence_weight(torch.tensor([0.25, 0.75]))
    assert found.dtype == torch.float32
    assert found.tolist() == [0.5, 1]


@given(st.floats(0, 1), st.floats(0, 1))
def test_confidence_weight_grows_from_zero_to_one(first, second):
    low, high = sorted([first, second])
    assert 0 <= confidence_weight(low) <= confidence_weight(high) <= 1


@given(WEIGHTS, st.data())
def test_shares_of_a_source_sum_to_one_and_keep_their_ratio(weights, data):
    sources = data.draw(st.lists(st.sampled_from("abc"), min_size=len(weights), max_size=len(weights)))
    shares = normalise_per_source(weights, sources)
    for source in set(sources):
        own = [i for i, s in enumerate(sources) if s == source]
        assert shares[own].sum() == pytest.approx(1)
        best = max(own, key=lambda i: weights[i])
        for i in own:
            assert shares[i] * weights[best] == pytest.approx(shares[best] * weights[i], abs=1e-12)


def test_weights_that_all_vanish_are_shared_evenly_unlike_in_the_published_code():
    assert normalise_per_source([0, 0, 1, 3], [7, 7, 8, 8]).tolist() == [0.5, 0.5, 0.25, 0.75]
    assert normalise_per_source([1e-320, 3e-320], [0, 0]).tolist() == pytest.approx([0.25, 0.75], rel=0.01)


def test_a_tensor_of_weights_gives_a_tensor():
    shares = normalise_per_source(torch.tensor([1.0, 1.0, 0.5]), torch.tensor([0, 0, 0]))
    assert shares.dtype == torch.float32
    assert shares.tolist() == pytest.approx([0.4, 0.4, 0.2])
    assert len(normalise_per_source(torch.zeros(0), [])) == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.bfloat16])
def test_shares_are_fractions_whatever_the_type_of_the_weights(dtype):
    shares = normalise_per_source(torch.tensor([1, 1, 2]).to(dtype), [0, 0, 1])
    assert shares.dtype == (dtype if dtype.is_floating_point else torch.float64)
    assert shares.tolist() == [0.5, 0.5, 1]


@pytest.mark.parametrize(("wrong", "said"), [(np.nan, "nan"), (np.inf, "inf"), (-0.5, r"-0\.5")])
def test_a_weight_that_cannot_be_shared_is_refused(wrong, said):
    for weights in ([1, wrong], np.array([1, wrong]), torch.tensor([1, wrong])):
        with pytest.raises(InputError, match=f"weights: entry 1 is {said}; each is a finite number of 0 or more"):
            normalise_per_source(weights, [0, 0])


SOURCES = torch.tensor([0, 0, 1, 1])
GOOD_AND_BAD = torch.tensor([1.0, 1.0, 0.02, 0.06])


def test_per_photo_uses_a_bad_batch_as_often_as_a_good_one_and_global_less():
    paper = use_of(GOOD_AND_BAD, SOURCES, 3, 0.7, "per_photo")
    assert paper.alpha.tolist() == pytest.approx([0.7, 0.7, 0])  # the third photo has no images
    assert paper.share.tolist() == pytest.approx([0.5, 0.5, 0.25, 0.75])
    by_weight = use_of(GOOD_AND_BAD, SOURCES, 3, 0.7, "global")
    assert by_weight.share.tolist() == pytest.approx(paper.share.tolist())
    assert by_weight.alpha.tolist() == pytest.approx([0.7, 0.7 * 0.04, 0])


def test_rejected_images_are_never_used_nor_is_a_photo_replaced_that_has_no_others():
    use = use_of(torch.tensor([1.0, 0.4, 0.3, 0.2]), SOURCES, 2, 0.7, "reject", reject_below=0.5)
    assert use.share.tolist() == [1, 0, 0, 0]
    assert use.alpha.tolist() == pytest.approx([0.7, 0])


def test_equal_weights_are_used_alike():
    use = use_of(GOOD_AND_BAD, SOURCES, 2, 0.5, "equal")
    assert use.share.tolist() == [0.5] * 4
    assert use.alpha.tolist() == [0.5, 0.5]


@given(WEIGHTS)
def test_the_effective_size_is_between_one_and_the_number_of_images(weights):
    sources = torch.zeros(len(weights), dtype=torch.long)
    share = torch.from_numpy(normalise_per_source(weights, sources))
    (size,) = effective_sizes(share, sources, 1).tolist()
    assert 1 - 1e-9 <= size <= len(weights) + 1e-9


def test_the_effective_size_counts_what_is_used():
    sources = torch.tensor([0, 0, 0, 1])
    assert effective_sizes(torch.tensor([1.0, 0, 0, 1]), sources, 3).tolist() == [1, 1, 0]
    use = use_of(torch.tensor([1.0, 1.0, 1.0, 1.0]), sources, 2, 0.7, "per_photo")
    assert mean_effective_size(use, sources) == pytest.approx(2)
