import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.training.split import hold_out


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 3))
def test_every_image_is_on_one_side_and_every_class_on_both(counts, share, seed):
    labels = torch.cat([torch.full((count,), i) for i, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    train, held = hold_out(labels, share, seed)
    assert torch.cat([train, held]).sort().values.tolist() == list(range(len(labels)))
    for label, count in enumerate(counts):
        held_of_class = int((labels[held] == label).sum())
        assert held_of_class == min(max(1, round(share * count)), count - 1)


def test_the_seed_decides():
    labels = torch.arange(100) % 5
    assert torch.equal(hold_out(labels, 0.2, 1)[1], hold_out(labels, 0.2, 1)[1])
    assert not torch.equal(hold_out(labels, 0.2, 1)[1], hold_out(labels, 0.2, 2)[1])


def test_a_class_of_one_image_is_named():
    with pytest.raises(InputError, match=r"training\.holdout: class 1 has one image"):
        hold_out(torch.tensor([0, 0, 1]), 0.5, 0)
