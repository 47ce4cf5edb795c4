import pytest
import torch
from safetensors import safe_open

from figment.adaptation.adapters import save_adapter
from figment.errors import InputError
from figment.files import sha256_file


def test_an_adapter_is_named_by_its_content(tmp_path):
    weight = torch.arange(6.0).view(2, 3).T  # not contiguous
    name = save_adapter({"text_encoder.w": weight}, tmp_path / "adapters", {"kept_step": "7"})
    (file,) = (tmp_path / "adapters").iterdir()
    assert file.name == f"{name}.safetensors"
    assert sha256_file(file) == name
    with safe_open(file, "pt") as saved:
        assert torch.equal(saved.get_tensor("text_encoder.w"), weight)
        assert saved.metadata() == {"kept_step": "7"}
    assert save_adapter({"text_encoder.w": weight}, tmp_path / "adapters", {"kept_step": "7"}) == name
    assert save_adapter({"text_encoder.w": weight + 1}, tmp_path / "adapters", {"kept_step": "7"}) != name


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "adapters").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*adapters"):
        save_adapter({"w": torch.zeros(1)}, tmp_path / "adapters", {})
