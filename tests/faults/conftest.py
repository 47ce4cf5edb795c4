"""What holds for every fault test."""

import io
import sys

import pytest


@pytest.fixture(autouse=True)
def yes(monkeypatch):
    """Whoever asks on stdin whether code may run is told that it may."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
