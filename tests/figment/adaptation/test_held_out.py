from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.adaptation.held_out import split_prompts
from figment.errors import InputError
from figment.prompts.tricks import Prompt


def prompts(*counts: int) -> list[Prompt]:
    return [Prompt(f"{i} {k}", (f"class {i}",), "t") for i, count in enumerate(counts) for k in range(count)]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.floats(0.01, 0.49), st.integers(0, 5))
def test_no_prompt_is_in_two_parts_and_none_is_lost(counts, share, seed):
    if max(counts) < 3:
        with pytest.raises(InputError, match="no pair of classes has three"):
            split_prompts(prompts(*counts), share, seed)
        return
    parts = split_prompts(prompts(*counts), share, seed)
    assert sorted(p.text for part in parts for p in part) == sorted(p.text for p in prompts(*counts))
    for labels, count in Counter(p.labels for p in prompts(*counts)).items():
        held = [sum(p.labels == labels for p in part) for part in parts]
        assert held[0] >= 1
        assert held[1] == held[2] >= (count >= 3)


def test_the_share_is_kept_for_every_set_of_labels():
    parts = split_prompts(prompts(10, 10), 0.2, 0)
    assert [len(part) for part in parts] == [12, 4, 4]
    assert split_prompts(prompts(10, 10), 0.2, 0) == parts
    assert split_prompts(prompts(10, 10), 0.2, 1) != parts
