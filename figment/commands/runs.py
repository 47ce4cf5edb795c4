"""Runs kept and removed, and where they run."""

import argparse


def clean(options: argparse.Namespace) -> None:
    from figment.ops.clean import delete, find

    rows = find(options.runs)
    for path, size, what in rows:
        print(f"{size / 1e6:12,.1f} MB  {path}  ({what})")
    if options.yes:
        delete(rows)
    total = f"{sum(size for _, size, _ in rows) / 1e6:,.1f} MB in {len(rows)} places"
    print(f"{total}, deleted" if options.yes else f"{total}; nothing is deleted yet, --yes does it")


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


def get_dataset(options: argparse.Namespace) -> None:
    from figment.ops.dataset_commands import get_dataset

    print(get_dataset(options.name, options.rev, options.repo, options.out))


def add_dataset(options: argparse.Namespace) -> None:
    from figment.ops.dataset_commands import add_dataset
    from figment.recipes.base import VersioningConfig

    print(add_dataset(options.folder, VersioningConfig(keep=options.keep)))


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
