import os
import signal
from functools import partial

import pytest

from figment.errors import InputError
from figment.synthesis import actors


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with actors.cluster(3) as started:
        yield started


class Squares:
    """Dies, by SIGKILL, on the task ``dies_of``, as often as ``times``; refuses negative numbers."""

    def __init__(self, folder, dies_of=None, times=0):
        self.folder, self.dies_of, self.times = folder, dies_of, times

    def __call__(self, number):
        if number == self.dies_of and len(list(self.folder.iterdir())) < self.times:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise InputError(f"{number}: not a number to take the root of")
        return number**2


def test_a_task_whose_actor_is_killed_is_done_again(ray, tmp_path):
    found = actors.results(partial(Squares, tmp_path, 5, 2), iter(range(9)), 2, 9)
    assert sorted(found) == [number**2 for number in range(9)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_task_that_kills_every_actor_is_one_sentence(ray, tmp_path):
    with pytest.raises(
        InputError, match=r"^synthesis.engine: a Ray worker died 4 times, most likely because memory ran out"
    ):
        list(actors.results(partial(Squares, tmp_path, 5, 99), iter(range(9)), 2, 9))


def test_what_a_task_raises_is_raised_here(ray, tmp_path):
    with pytest.raises(InputError, match=r"^-1: not a number to take the root of$"):
        list(actors.results(partial(Squares, tmp_path), iter([2, -1, 3]), 2, 3))


def test_tasks_are_taken_when_an_actor_is_free(ray, tmp_path):
    taken = []

    def tasks():
        for number in range(6):
            taken.append(number)
            yield number

    found = actors.results(partial(Squares, tmp_path), tasks(), 1, 6)
    assert next(found) == 0
    assert taken == [0]
