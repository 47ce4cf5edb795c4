"""What progress looks like, where there is a terminal and where there is none."""

import os
import pty
import subprocess
import sys

import pytest

from figment import progress
from figment.progress import Progress

WORK = """
import time
from figment.progress import Progress
with Progress(3, "synthesis", "img") as bar:
    for _ in range(3):
        time.sleep(0.15)
        bar.update()
"""


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_in_a_log_it_is_a_line_every_ten_seconds(clock, capsys):
    with Progress(100, "synthesis", "img", initial=10) as bar:
        bar.mininterval = 0
        for second in range(25):
            clock[0] = float(second)
            bar.update()
            bar.set_postfix(accepted="90%")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["synthesis: 21 of 100 img", "synthesis: 31 of 100 img"]
    assert all("left" in line and "\r" not in line for line in lines)
    assert lines[1].endswith("accepted=90%")


def test_of_short_work_and_of_work_that_another_process_tells_of_a_log_holds_nothing(clock, capsys):
    for shown, second in ((True, 5.0), (False, 50.0)):
        with Progress(2, "synthesis", "img", shown=shown) as bar:
            clock[0] += second
            bar.update()
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_is_a_bar_that_goes_away():
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", WORK], stderr=theirs, check=True)
    os.close(theirs)
    said = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "synthesis: " in said
    assert "\r" in said
    assert "\n" not in said
