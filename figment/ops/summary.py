"""The lines that every run ends with."""

import sys
from pathlib import Path

from figment.errors import InputError
from figment.evaluation.verdict import SUMMARY, Summary
from figment.ops.lineage_file import LINEAGE, Lineage
from figment.reading import read_artifact


def print_results(output: Path) -> None:
    """The headline table and the verdict of a run's report, where it, the model and the dataset are, and the next command."""
    file = output / SUMMARY
    if not file.is_file():
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    summary = read_artifact(file, Summary)
    table = Table(title=f"{summary.title}: {summary.heading}", title_justify="left")
    for number, column in enumerate(summary.columns):
        table.add_column(Text(column), justify="right" if number else "left")
    for row in summary.rows:
        table.add_row(*map(Text, row))
    Console(width=120).print(table)
    print("\n".join(summary.lines))
    if (lineage := output / LINEAGE).is_file():
        print(f"dataset: {read_artifact(lineage, Lineage).dataset}")


def last_model() -> Path:
    """The model of the run below artifacts/ that ended last; says which. Raises InputError if there is none."""
    ended = sorted(Path("artifacts").rglob(SUMMARY), key=lambda file: file.stat().st_mtime_ns)
    models = [Path(read_artifact(file, Summary).model) for file in ended]
    found = [model for model in models if model.is_dir()]
    if not found:
        raise InputError("no model is named, and artifacts/ holds none of a run that ended; give --model FOLDER")
    print(f"model: {found[-1]}", file=sys.stderr)
    return found[-1]
