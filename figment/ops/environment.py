"""The project's environment: everything the tools write stays inside the clone, and nothing is reported to anyone.

``.env`` is its one list. ``make`` and ``source activate.sh`` export it for shells; Python entry points load it here.
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent


def load_environment(root: Path = ROOT) -> None:
    """Enter ``root`` and set the variables of its ``.env`` that are not set yet. Call before importing the tools."""
    os.chdir(root)
    for line in (root / ".env").read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            os.environ.setdefault(name.strip(), value.strip())
