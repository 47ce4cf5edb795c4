"""How a command of ``figment`` is declared: its arguments stand above the function that does it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Run = Callable[[argparse.Namespace], None]
Argument = tuple[tuple[str, ...], dict[str, Any]]

GROUPS = {
    "dataset": "runs' images, plans, verdicts and models as DVC keeps them",
    "stack": "where pipelines run: configs/stacks/",
}


@dataclass(frozen=True)
class Command:
    """``name`` is one word, or that of a group and another."""

    name: str
    help: str
    arguments: tuple[Argument, ...]
    run: Run


COMMANDS: list[Command] = []  # in their modules' order


def argument(*names: str, **settings: Any) -> Argument:
    """As ``argparse`` takes them."""
    return names, settings


CONFIG = argument("config", type=Path, metavar="CONFIG", help="a pipeline's YAML file")


def config_option(what: str = "") -> Argument:
    """``-c CONFIG``; ``what`` is read of it."""
    return argument("-c", "--config", type=Path, required=True, help=f"a pipeline's YAML file{what}")


def command(name: str, help: str, *arguments: Argument) -> Callable[[Run], Run]:
    """The function below is this command."""

    def declare(run: Run) -> Run:
        COMMANDS.append(Command(name, help, arguments, run))
        return run

    return declare


def add_commands(parser: argparse.ArgumentParser) -> None:
    """All that are declared."""
    top = parser.add_subparsers(required=True, metavar="COMMAND")
    groups: dict[str, Any] = {"": top}
    for each in COMMANDS:
        group, _, name = each.name.rpartition(" ")
        if group not in groups:
            group_parser = top.add_parser(group, help=GROUPS[group])
            groups[group] = group_parser.add_subparsers(required=True, metavar="COMMAND")
        added = groups[group].add_parser(name, help=each.help)
        for names, settings in each.arguments:
            added.add_argument(*names, **settings)
        added.set_defaults(run=each.run)
