"""Run a pipeline and print its results: what ``make demo`` calls. One process prepares the stack and runs.

    python -m figment.ops.run pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/bag_of_tricks.yaml [--seeds 0 1 2]

``zenml pipeline run`` with the same arguments does the same work.
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
    """Run the pipeline with the config, whose output folder this is; it prints how it ended."""
    instance.with_options(config_path=str(config))()
    store.bring([output])


def quieten() -> None:
    """Silence what a user can do nothing about: other packages' warnings. (``.env`` and ``figment.model_loaders`` see to those of
    the libraries that load models, which would take seconds to import here.)"""
    for category in (FutureWarning, UserWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    for name in ("alembic", "git", "great_expectations"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
