import json
from pathlib import Path

import pytest
import torch

from benchmarks.semantic_loss import LOSSES, RESULTS, inputs, peak_mib


@pytest.fixture(scope="module")
def steps():
    """Each loss with its value and gradient at NUS-WIDE's shapes."""
    found = {}
    for name, loss in LOSSES.items():
        matrix, targets, vectors = inputs()
        value = loss(matrix, targets, vectors)
        value.backward()
        found[name] = value.item(), matrix.grad
    return found


@pytest.mark.parametrize("loop", ["lean", "published"])
def test_the_loops_compute_the_same(steps, loop):
    assert steps[loop][0] == pytest.approx(steps["figment"][0], rel=1e-6)
    assert torch.allclose(steps[loop][1], steps["figment"][1], rtol=1e-3, atol=1e-4)


def test_the_loss_takes_less_memory_than_either_loop():
    matrix, targets, vectors = inputs()
    matrix.grad = torch.zeros_like(matrix)
    peaks = {
        name: peak_mib(lambda loss=loss: loss(matrix, targets, vectors).backward()) for name, loss in LOSSES.items()
    }
    assert peaks["figment"] < peaks["lean"] < peaks["published"]


def test_the_recipes_page_says_what_was_measured_against_either_loop():
    page = Path("docs/recipes/semantic_diversity.md").read_text(encoding="utf-8")
    measured = json.loads(RESULTS.read_text(encoding="utf-8"))["losses"]
    for name, row in (("Figment", "figment"), ("one matrix product each", "lean"), ("loop as published", "published")):
        ms, peak, times = (measured[row][column] for column in ("ms", "peak_mib", "times_figment"))
        assert f"{name} | {ms:.1f} | {peak:.1f} | {times:.1f} |" in page
