"""The notebook of the site runs from its first cell to its last."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_every_cell_of_the_notebook_runs():
    subprocess.run([sys.executable, "docs/hooks.py"], check=True)
    shown = json.loads(Path(".figment/notebook.json").read_text())["shown"]
    said = "\n".join(text for cell in shown for text in cell)
    for part in ("% top-1", "multi_domain", " of a ", "data:image/png", "'label'"):
        assert part in said
