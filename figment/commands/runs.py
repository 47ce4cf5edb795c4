"""Runs kept and removed, and where they run."""

import argparse
from pathlib import Path

from figment.commands.command import argument, command


@command(
    "clean",
    "what can be deleted without a loss, with sizes; or whole runs",
    argument("runs", nargs="*", metavar="RUN", help="such as bag_of_tricks; none: caches and leftovers"),
    argument("--yes", action="store_true", help="delete it"),
)
def clean(options: argparse.Namespace) -> None:
    from figment.ops.clean import delete, find

    rows = find(options.runs)
    for path, size, what in rows:
        print(f"{size / 1e6:12,.1f} MB  {path}  ({what})")
    if options.yes:
        delete(rows)
    total = f"{sum(size for _, size, _ in rows) / 1e6:,.1f} MB in {len(rows)} places"
    print(f"{total}, deleted" if options.yes else f"{total}; nothing is deleted yet, --yes does it")


@command(
    "dataset list",
    "the runs whose dataset has a pointer: size, and whether git has it",
    argument("--rev", metavar="REV", help="at a git revision"),
)
def list_datasets(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from figment.ops.dataset_commands import COLUMNS, list_datasets

    table = Table()
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 1 <= number <= 3 else "left")
    for row in list_datasets(options.rev):
        table.add_row(*map(Text, row))
    Console(width=120).print(table)


@command(
    "dataset get",
    "bring a run's dataset: from the remote; of a revision; of another repository",
    argument("name", metavar="RUN", help="such as bag_of_tricks, or its folder"),
    argument("--rev", metavar="REV", help="as of a git revision, into a folder of its own"),
    argument("--repo", metavar="URL", help="of another clone of Figment, by its address or path"),
    argument("--out", type=Path, metavar="DIR", help="a new folder; by default RUN_REV beside the run"),
)
def get_dataset(options: argparse.Namespace) -> None:
    from figment.ops.dataset_commands import get_dataset

    print(get_dataset(options.name, options.rev, options.repo, options.out))


@command(
    "dataset add",
    "version a run's folder now, as its last step does",
    argument("folder", type=Path, metavar="FOLDER", help="such as artifacts/bag_of_tricks"),
    argument("--keep", choices=["all", "accepted"], default="all"),
)
def add_dataset(options: argparse.Namespace) -> None:
    from figment.ops.dataset_commands import add_dataset
    from figment.recipes.base import VersioningConfig

    print(add_dataset(options.folder, VersioningConfig(keep=options.keep)))


@command(
    "stack apply",
    "register a stack file's components and stack, or update what differs, and make it the active one",
    argument("file", type=Path, metavar="FILE", help="such as configs/stacks/local.yaml"),
)
def apply_stack_file(options: argparse.Namespace) -> None:
    from figment.ops import state
    from figment.ops.stack import initialise
    from figment.ops.stacks_apply import apply_stack, missing_packages
    from figment.ops.stacks_file import read_stack

    stack = read_stack(options.file)
    with state.locked():
        initialise()
        print("\n".join(apply_stack(stack) or [f"{stack.name}: nothing to change"]))
    if missing := missing_packages(stack):
        print(f"not installed here, and a run will ask for it: {', '.join(missing)}; see the extras in pyproject.toml")
