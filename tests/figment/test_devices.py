import os

import pytest

from figment.devices import choose_device, cores, free_memory
from figment.errors import InputError


def test_a_device_by_name_is_that_device():
    assert str(choose_device("cpu")) == "cpu"


def test_a_device_that_is_not_here_is_refused_in_a_sentence():
    for name in ("abacus", "cuda:99"):
        with pytest.raises(InputError, match=f"device: '{name}' cannot be used"):
            choose_device(name)


def test_free_memory_is_some_and_not_more_than_there_is():
    assert 0 < free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_cores_are_those_this_process_may_use():
    assert 1 <= cores() <= os.cpu_count()
