"""Run a pipeline and print its results: what ``make demo`` calls. One process prepares the stack and runs.

    python -m figment.ops.run pipelines.bag_of_tricks.bag_of_tricks -c configs/pocket/bag_of_tricks.yaml [--seeds 0 1 2]

``zenml pipeline run`` with the same arguments does the same work.
"""

import argparse
import contextlib
import importlib
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from figment import store
from figment.files import check_writable, write_text
from figment.keys import jsonable
from figment.ops.checking import read_config
from figment.ops.config_check import Checked, checked, refuse_faults
from figment.ops.embedded import link_embedded
from figment.ops.endings import ended
from figment.ops.environment import PREFIX, load_environment
from figment.ops.finished import inputs_key, is_finished, mark_finished
from figment.ops.summary import print_results
from figment.types import expanded_path

OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (  # of a command line, as argparse takes them
    (("--out",), {"type": Path, "metavar": "DIR", "help": "the output folder, in place of the config's"}),
    (("--seeds",), {"nargs": "+", "type": int, "help": "run once a seed; means and intervals at the end"}),
    (("--again",), {"action": "store_true", "help": "ask every step, even if the whole run is finished"}),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", help="module.path.of.a_pipeline")
    parser.add_argument("-c", "--config", required=True, type=Path, help="YAML file of the run")
    for names, settings in OPTIONS:
        parser.add_argument(*names, **settings)
    options = parser.parse_args(arguments)

    def work() -> None:
        load_environment()
        quieten()
        output = options.out and expanded_path(options.out)
        run(expanded_path(options.config), options.pipeline, options.seeds, options.again, output)

    return ended(work)


def run(
    config: Path,
    pipeline: str = "",
    seeds: Sequence[int] | None = None,
    again: bool = False,
    output: Path | None = None,
) -> Path:
    """Check the config, prepare the stack, run the pipeline, once or once a seed, print its table. Returns the output folder:
    ``output`` or else the config's. A finished run is printed and nothing else done, unless ``again``. Raises the InputError at
    the bottom of a failed step, and all that is wrong with the config before anything is imported that takes seconds."""
    start = time.monotonic()
    module, _, name = pipeline.rpartition(".")
    found = checked(config, name)
    refuse_faults([found])
    module = module or f"{PREFIX}pipelines.{found.pipeline}"
    if output is not None:
        check_writable(output, "--out")
        found.parameters["output"] = output.as_posix()
    link_embedded(jsonable(found.parameters))
    with with_output(config, output) as config:
        run_checked(config, module, found, seeds, again)
    print(f"{time.monotonic() - start:.0f} s")
    return Path(found.parameters["output"])


def run_checked(config: Path, module: str, found: Checked, seeds: Sequence[int] | None, again: bool) -> None:
    output = Path(found.parameters["output"])
    if not seeds and not again and is_finished(inputs_key(found.pipeline, config, found.parameters), output):
        print_results(output)
        print(f"{output}: finished before, and nothing that decides it has changed; --again asks every step")
        return
    from figment.ops.stack import prepare

    prepare()
    instance = getattr(importlib.import_module(module), found.pipeline)
    if seeds:
        run_once_a_seed(instance, config, seeds)
    else:
        key = inputs_key(found.pipeline, config, found.parameters)
        run_once(instance, config, output)
        mark_finished(key, output)


@contextlib.contextmanager
def with_output(config: Path, output: Path | None) -> Iterator[Path]:
    """The config, or one like it that names another output folder."""
    if output is None:
        yield config
        return
    body = read_config(config)
    body["parameters"] = {**body["parameters"], "output": output.as_posix()}
    with TemporaryDirectory() as folder:
        file = Path(folder, config.absolute().parent.name, config.name)
        write_text(file, yaml.safe_dump(body, sort_keys=False, allow_unicode=True))
        yield file


def run_once(instance: Any, config: Path, output: Path) -> None:
    """Run the pipeline with the config, whose output folder this is; it prints how it ended."""
    instance.with_options(config_path=str(config))()
    store.bring([output])


def run_once_a_seed(instance: Any, config: Path, seeds: Sequence[int]) -> None:
    from rich.console import Console

    from figment.ops.seeds import run_seeds, table

    summary = run_seeds(instance.entrypoint, config, seeds, lambda file, folder: run_once(instance, file, folder))
    Console(width=100).print(table(summary, seeds))


def quieten() -> None:
    """Silence what a user can do nothing about: other packages' warnings. (``.env`` and ``figment.model_loaders`` see to those of
    the libraries that load models, which would take seconds to import here.)"""
    for category in (FutureWarning, UserWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    for name in ("alembic", "git", "great_expectations"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
