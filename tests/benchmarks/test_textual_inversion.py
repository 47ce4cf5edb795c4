"""What the benchmark counts, without running any of it."""

import json

import pytest

from benchmarks import textual_inversion


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The processes that would be started: (what, classes in each, steps); each takes two seconds, the clock shows three."""
    calls: list[tuple[str, int, int]] = []

    def processes(what, groups, steps):
        calls.extend((what, len(group), steps) for group in groups)
        return {"processor_seconds": 2.0 * len(groups), "clock_seconds": 3.0 * len(groups)}

    monkeypatch.setattr(textual_inversion, "processes", processes)
    monkeypatch.setattr(textual_inversion, "step_times", lambda classes: {})
    monkeypatch.setattr(textual_inversion, "FILE", tmp_path / "speed.json")
    return calls


def test_long_learning_is_measured_once_and_counted_for_every_class(started):
    (run,) = textual_inversion.speed([150])["runs"]
    assert started == [("learn", 23, 150), ("learn", 1, 150), ("publish", 1, 150)]
    assert run["one process"]["processor_seconds"] == 2
    assert run["a process each"] == {"processor_seconds": 46, "clock_seconds": 69, "processes measured": 1}
    assert run["times one process"]["a process each"] == {"processor_seconds": 23, "clock_seconds": 23}


def test_short_learning_is_measured_for_every_class_and_other_numbers_of_steps_are_kept(started):
    textual_inversion.speed([150])
    started.clear()
    textual_inversion.speed([10])
    assert len(started) == 1 + 23 + 23
    assert [run["steps"] for run in json.loads(textual_inversion.FILE.read_text())["runs"]] == [10, 150]
