"""The tables behind ``dvc plots``: the loss of the classifier that is looked at closer, and what it took for what."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from figment.evaluation.results import Results
from figment.files import write_text
from figment.training.histories import read_curve


def write_plots(results: Results, classifier: Path, output: Path) -> None:
    """``output``/loss.csv (step, loss) from the history beside a classifier, and confusion.csv (actual, predicted), a row a
    test image."""
    history = read_curve(classifier)
    losses = ((step, f"{values['loss']:.6g}") for step, values in history if "loss" in values)
    _write(output / "loss.csv", ("step", "loss"), losses)
    counts = (
        (actual, predicted, count)
        for actual, line in zip(results.labels, results.confusion, strict=True)
        for predicted, count in zip(results.labels, line, strict=True)
    )
    pairs = ((actual, predicted) for actual, predicted, count in counts for _ in range(count))
    _write(output / "confusion.csv", ("actual", "predicted"), pairs)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())
