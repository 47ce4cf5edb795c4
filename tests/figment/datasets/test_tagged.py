import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.datasets.tagged import read_tagged, write_tagged
from figment.errors import InputError


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 99))
def test_what_is_written_in_batches_is_read_as_one(tmp_path_factory, count, batch, seed):
    folder = tmp_path_factory.mktemp("set")
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    targets = torch.randint(-1, 2, (count, 5), generator=generator)
    write_tagged(folder, pixels.split(batch), targets, 4)
    found = read_tagged(folder)
    assert len(found) == count
    assert torch.equal(found.pixels, pixels)
    assert torch.equal(found.targets.long(), targets)


def test_what_is_done_to_a_read_set_stays_in_memory(tmp_path):
    write_tagged(tmp_path, [torch.zeros(2, 3, 4, 4, dtype=torch.uint8)], torch.zeros(2, 1), 4)
    read_tagged(tmp_path).pixels.fill_(9)
    assert read_tagged(tmp_path).pixels.sum() == 0


def test_a_set_is_whole_or_absent(tmp_path):
    with pytest.raises(ValueError, match="1 images for 2 rows"):
        write_tagged(tmp_path / "a", [torch.zeros(1, 3, 4, 4, dtype=torch.uint8)], torch.zeros(2, 1), 4)
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(InputError, match=r"a: holds no pixels.npy and targets.npy"):
        read_tagged(tmp_path / "a")
