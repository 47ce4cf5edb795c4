"""Files of weights that others wrote: tensors come in, and nothing is run."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from figment.errors import InputError
from figment.tensor_files import read_tensor_file, state_of

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(3)}


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("name", ["a.pth", "a.bin", "a.pt", "a.safetensors", "old.pth"])
def test_read(tmp_path, name):
    file = tmp_path / name
    if name.endswith(".safetensors"):
        save_file(STATE, file)
    else:
        content = {"model": OrderedDict(STATE), "num_classes": 2, "idx_to_class": {0: "cat", 1: "dog"}}
        torch.save(content, file, _use_new_zipfile_serialization=not name.startswith("old"))
    found = state_of(read_tensor_file(file, "weights"), name)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def test_a_parameter_is_a_tensor(tmp_path):
    torch.save({"<cat>": nn.Parameter(torch.ones(4))}, tmp_path / "a.bin")
    found = read_tensor_file(tmp_path / "a.bin", "words")["<cat>"]
    assert type(found) is torch.Tensor
    assert not found.requires_grad


def planted(path: Path, mark: Path, how: str) -> None:
    if how == "plain pickle":
        path.write_bytes(pickle.dumps({"a": Planted(mark)}))
    elif how == "beside tensors":
        torch.save({"a": torch.ones(2), "b": Planted(mark)}, path)
    elif how == "old format":
        torch.save({"a": torch.ones(2), "b": Planted(mark)}, path, _use_new_zipfile_serialization=False)
    else:
        torch.jit.script(nn.Linear(2, 2)).save(str(path))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
@pytest.mark.parametrize("how", ["plain pickle", "beside tensors", "old format", "program"])
def test_planted_code_is_not_run(tmp_path, suffix, how):
    file, mark = tmp_path / f"a{suffix}", tmp_path / "ran"
    planted(file, mark, how)
    with pytest.raises(InputError, match=r"asks for|holds a program|not read") as error:
        read_tensor_file(file, "weights")
    assert "\n" not in str(error.value)
    assert not mark.exists()


def rezipped(file: Path, compression: int) -> None:
    """The archive again, its parts compressed."""
    parts = {part.filename: zipfile.ZipFile(file).read(part) for part in zipfile.ZipFile(file).infolist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


FAULTS = {
    "a bomb of one number": (lambda: torch.ones(1).expand(1 << 40), "larger than 4 times the file"),
    "one storage many times": (lambda: [torch.ones(5000)] * 4000, "larger than 4 times the file"),
    "not finite": (lambda: {"a": torch.tensor([float("nan")])}, "hold NaN or infinity"),
    "sparse": (lambda: {"a": torch.eye(2).to_sparse()}, "sparse"),
    "complex": (lambda: {"a": torch.ones(2, dtype=torch.complex64)}, "expected plain numbers"),
    "no tensor": (lambda: {"a": 1}, "holds no mapping"),
    "a set": (lambda: {"a": {1, 2}}, "expected tensors|not read|asks for"),
    "keys of tuples": (lambda: {(1, 2): torch.ones(1)}, "is a key; expected names"),
}


@pytest.mark.parametrize(("make", "said"), FAULTS.values(), ids=FAULTS)
def test_fault(tmp_path, make, said):
    file = tmp_path / "a.pth"
    content = make()
    same = content if not isinstance(content, list) else [value.view(-1) for value in content]
    torch.save(same, file)
    with pytest.raises(InputError, match=said):
        state_of(read_tensor_file(file, "weights"), "a.pth")


def test_compressed_parts_are_refused(tmp_path):
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "a.pth")
    rezipped(tmp_path / "a.pth", zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed or overlap"):
        read_tensor_file(tmp_path / "a.pth", "weights")


@pytest.mark.parametrize("name", ["a.onnx", "gone.pth", "folder.pth"])
def test_what_is_no_file_of_weights(tmp_path, name):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match="expected"):
        read_tensor_file(tmp_path / name, "weights")


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=64), st.floats(0, 1), st.booleans())
def test_any_damage_is_an_input_error_or_the_tensors(tmp_path_factory, data, place, new):
    buffer = io.BytesIO()
    torch.save({"model": STATE}, buffer, _use_new_zipfile_serialization=new)
    whole = buffer.getvalue()
    cut = int(place * len(whole))
    file = tmp_path_factory.mktemp("fuzz") / "a.pth"
    file.write_bytes(whole[:cut] + data + whole[cut + len(data) :])
    try:
        read_tensor_file(file, "weights")
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError("more than a line") from error
