"""What a run says of itself in words."""

import pytest

from figment.evaluation.verdict import Summary, Verdict, compare, score


@pytest.mark.parametrize(
    ("gain", "outcome", "words"),
    [
        ((0.046, 0.021, 0.07), "better", "is 4.6 points over base class (95 % interval +2.1 to +7.0): decided."),
        ((-0.162, -0.2, -0.11), "worse", "is 16.2 points under base class (95 % interval -20.0 to -11.0): decided."),
        ((0.004, -0.01, 0.018), "undecided", "is 0.4 points over base class (95 % interval -1.0 to +1.8): undecided"),
        ((-0.004, -0.02, 0.01), "undecided", "is 0.4 points under base class (95 % interval -2.0 to +1.0): undecided"),
        ((0.01, 0.0, 0.02), "undecided", "the interval holds zero"),
        ((-0.01, -0.02, 0.0), "undecided", "the interval holds zero"),
        ((0.01, 1e-9, 0.02), "better", ": decided."),
        ((-0.01, -0.02, -1e-9), "worse", ": decided."),
        ((0.0, 0.0, 0.0), "undecided", "combined is level with base class"),
        ((0.0004, -0.001, 0.001), "undecided", "combined is level with base class"),
    ],
)
def test_an_interval_decides_only_where_it_excludes_zero(gain, outcome, words):
    said = compare("combined", "base class", gain)
    assert said.outcome == outcome
    assert words in said.text
    assert said.text.startswith("combined is ")


def test_where_and_in_what_unit_it_was_compared():
    said = compare("It", "CLIP as it is", (0.1, 0.05, 0.15), "photos of x", "points of mAP")
    assert said.text.startswith(
        "It is 10.0 points of mAP over CLIP as it is on photos of x (95 % interval +5.0 to +15.0)"
    )


def test_a_score_has_its_interval_if_there_is_one():
    assert (
        score("all", "top-1", 0.5, 0.4, 0.6, "70 images").text
        == "all: 50.0 % top-1 (95 % interval 40.0 to 60.0) on 70 images."
    )
    assert score("all", "top-1", 0.5, 0.5, 0.5, "70 images").text == "all: 50.0 % top-1 on 70 images."


def test_a_run_ends_with_its_verdict_its_paths_and_the_next_command():
    verdict = (Verdict(text="First."), Verdict(text="Second.", outcome="better"))
    found = Summary(
        title="T", heading="H", columns=("a",), rows=(("b",),), verdict=verdict, report="r.html", model="m/x"
    )
    assert found.lines == [
        "First.",
        "Second.",
        "report: r.html",
        "model: m/x",
        "next: figment predict IMAGE --model m/x",
    ]
