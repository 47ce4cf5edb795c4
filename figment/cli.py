"""The command line of the library: ``figment new``, ``run``, ``check``, ``estimate``, ``preview``, ``render``, ``generate``,
``replay``, ``trace``, ``why``, ``predict``, ``ask``, ``evaluate``, ``transfer``, ``export``, ``import``, ``payload``,
``dataset list | get | add``, ``stack apply``.

``figment run CONFIG`` does what ``zenml pipeline run`` does; the others look into its folders or lend a hand from other machines.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from figment.commands import configs, images, models, runs  # noqa: F401, they declare the commands
from figment.commands.command import add_commands
from figment.ops.endings import ended
from figment.ops.environment import load_environment
from figment.ops.run import quieten
from figment.types import expanded_path


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0, or 2 after one sentence on what the user can mend."""
    parser = argparse.ArgumentParser(prog="figment", description="From the names of classes to a trained classifier.")
    parser.add_argument("--version", action=Version, nargs=0, help="say the version and exit")
    add_commands(parser)
    options = parser.parse_args(arguments)

    def work() -> None:
        load_environment()
        expand_paths(options)
        quieten()
        options.run(options)

    try:
        return ended(work)
    except BrokenPipeError:  # whoever read the lines has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


class Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"figment {version('figment')}")
        parser.exit()


def expand_paths(options: argparse.Namespace) -> None:
    """Replace ``~`` in all paths."""
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, expanded_path(value))
        elif isinstance(value, list) and value and isinstance(value[0], Path):
            setattr(options, name, [expanded_path(path) for path in value])
