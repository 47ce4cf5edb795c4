"""Run a pipeline and print its results: what ``make demo`` calls. One process prepares the stack and runs.

    python -m figment.ops.run pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/bag_of_tricks.yaml [--seeds 0 1 2]

``zenml pipeline run`` with the same arguments does the same work without the table at the end.
"""

import argparse
import importlib
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figment import store
from figment.ops.endings import ended
from figment.ops.environment import load_environment
from figment.reading import read_artifact
from figment.types import expanded_path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", help="module.path.of.a_pipeline")
    parser.add_argument("-c", "--config", required=True, type=Path, help="YAML file of the run")
    parser.add_argument("--seeds", nargs="+", type=int, help="run once a seed; means and intervals at the end")
    options = parser.parse_args(arguments)
    start = time.monotonic()

    def work() -> None:
        load_environment()
        quieten()
        run(options.pipeline, expanded_path(options.config), options.seeds)
        print(f"{time.monotonic() - start:.0f} s")

    return ended(work)


def run(pipeline: str, config: Path, seeds: Sequence[int] | None = None) -> None:
    """Prepare the stack, run the pipeline, once or once a seed, print its table. Raises the InputError at the bottom of a
    failed step."""
    from figment.ops.stack import prepare

    prepare()
    from figment.ops.pipelines import check_config

    module, _, name = pipeline.rpartition(".")
    instance = getattr(importlib.import_module(module), name)
    output = Path(check_config(config, instance.entrypoint)["output"])
    if seeds is None:
        run_once(instance, config, output)
        return
    from rich.console import Console

    from figment.ops.seeds import run_seeds, table

    summary = run_seeds(instance.entrypoint, config, seeds, lambda file, folder: run_once(instance, file, folder))
    Console(width=100).print(table(summary, seeds))


def run_once(instance: Any, config: Path, output: Path) -> None:
    """Run the pipeline with the config, whose output folder this is, and print its table."""
    instance.with_options(config_path=str(config))()
    store.bring([output])
    print_results(output)


def print_results(output: Path) -> None:
    """The table of ``results.json``, if the pipeline made one."""
    file = output / "results.json"
    if not file.is_file():
        return
    from rich.console import Console
    from rich.table import Table

    from figment.evaluation.results import Results

    results = read_artifact(file, Results)
    table = Table(title=f"top-1 on {results.test_images} real pictures of {len(results.labels)} classes")
    for column in ("trained on", "pictures", "top-1 %", "over base class", "gap closed"):
        table.add_column(column, justify="left" if column == "trained on" else "right", no_wrap=True)
    for row in results.rows:
        exact = row.low == row.high
        table.add_row(
            row.name.replace("_", " "),
            "" if row.images is None else str(row.images),
            f"{100 * row.top1:.1f}" + ("" if exact else f" [{100 * row.low:.1f}, {100 * row.high:.1f}]"),
            ""
            if row.gain is None
            else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * g for g in row.gain)) + " ?" * (not row.decided),
            "" if row.gap_closed is None else f"{100 * row.gap_closed:.0f} %",
        )
    Console(width=100).print(table)
    print("[...]: 95 % bootstrap intervals over the test pictures; ?: not decided, the interval holds zero")
    print(f"report: {output / 'report.html'}")


def quieten() -> None:
    """Silence what a user can do nothing about: other packages' warnings. (``.env`` and ``figment.model_loaders`` see to those of
    the libraries that load models, which would take seconds to import here.)"""
    for category in (FutureWarning, UserWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    for name in ("alembic", "git", "great_expectations"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
