import pytest

from figment.errors import InputError
from figment.prompts.instructions import context_instruction, pair_instruction
from figment.prompts.tricks import build_tricks


def test_a_misspelt_trick_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"tricks\[1\]: 'multidomain' is not a trick; did you mean 'multi_domain'"):
        build_tricks(["base_class", "multidomain"], ["photo"], 4.0)


def test_instructions_name_everything_they_ask_for():
    assert "dog and car" in pair_instruction(["dog", "car"], 5)
    assert "5" in pair_instruction(["dog", "car"], 5)
    assert "teddy bear" in context_instruction("teddy bear", 3)
