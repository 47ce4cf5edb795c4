"""``zenml`` of ``source activate.sh``: ZenML's own command line, after a look at its database; it ends as Figment's commands do.

ZenML by itself opens its database before it imports a pipeline, and fills a new one in place.
"""

import sys

import click

from figment.ops import state
from figment.ops.endings import ended
from figment.ops.environment import load_environment


def main() -> int:
    def work() -> None:
        load_environment()
        if not {"--help", "--version", "-v"}.intersection(sys.argv):
            with state.locked():
                state.ensure()
        from zenml.cli.cli import cli

        try:
            cli.main(prog_name="zenml", standalone_mode=False)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)

    return ended(work)


if __name__ == "__main__":
    sys.exit(main())
