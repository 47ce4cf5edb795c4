"""What a table says of a difference that the test pictures do not decide."""

import pytest

from figment.evaluation.results import Result, Results
from figment.files import write_text
from figment.ops.run import print_results


def row(name: str, gain: tuple[float, float, float] | None) -> Result:
    return Result(name=name, images=320, top1=0.5, low=0.4, high=0.6, gain=gain)


@pytest.mark.parametrize(
    ("gain", "decided"),
    [(None, True), ((0.05, 0.01, 0.09), True), ((-0.05, -0.09, -0.01), True), ((0.03, -0.01, 0.07), False), ((0, 0, 0), False)],
)  # fmt: skip
def test_a_gain_is_decided_if_its_interval_leaves_zero_out(gain, decided):
    assert row("combined", gain).decided is decided


def test_the_printed_table_marks_what_is_not_decided(tmp_path, capsys):
    rows = (row("base_class", None), row("multi_domain", (0.03, -0.01, 0.07)), row("combined", (0.05, 0.01, 0.09)))
    results = Results(
        labels=("cat", "dog"), test_images=80, rows=rows, confusion=((40, 0), (0, 40)), confusion_of="combined"
    )
    write_text(tmp_path / "results.json", results.model_dump_json())
    print_results(tmp_path)
    said = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert "+3.0 [-1.0, +7.0] ?" in said["multi domain"]
    assert "+5.0 [+1.0, +9.0] │" in said["combined"]
    assert "?" not in said["base class"]
