"""What a row's adapter says."""

import pytest

from figment.errors import InputError
from figment.planning.adapters import (
    adapter_parts,
    join_adapters,
    lora_adapter,
    loras_of,
    prompt_adapters,
    short_adapter,
)
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import model_revision


def test_an_adapter_is_joined_of_parts_and_taken_apart():
    adapter = join_adapters("a" * 64, "", lora_adapter("b" * 64, 0.8), lora_adapter("c" * 64, -1))
    assert adapter == f"{'a' * 64}+{'b' * 64}*0.8+{'c' * 64}*-1.0"
    assert adapter_parts(adapter) == [("a" * 64, None), ("b" * 64, 0.8), ("c" * 64, -1.0)]
    assert prompt_adapters(adapter) == ["a" * 64]
    assert loras_of(adapter) == (("b" * 64, 0.8), ("c" * 64, -1.0))
    assert short_adapter(adapter) == f"{'a' * 12}+{'b' * 12}*0.8+{'c' * 12}*-1"
    assert adapter_parts("") == []
    assert loras_of("") == ()


@pytest.mark.parametrize("text", ["a*", "*0.5", "a*b*0.5", "a++b", "a*nan", "a*x", "../a*1.0", "a+"])
def test_what_is_no_adapter_is_a_sentence(text):
    with pytest.raises(InputError, match="is not made of HASH or HASH\\*WEIGHT"):
        adapter_parts(text)


def test_rows_without_a_lora_say_what_they_always_said(pocket_config):
    columns = pocket_config.columns(model_revision(pocket_config))
    assert "loras" not in columns
    assert columns["adapter"] == ""


def test_a_lora_is_named_once():
    with pytest.raises(ValueError, match=r"loras names 'a\.safetensors' twice"):
        GeneratorConfig(model="x", loras=[{"file": "a.safetensors"}, {"file": "a.safetensors", "weight": 0.5}])
