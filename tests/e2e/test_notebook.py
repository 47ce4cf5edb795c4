"""The notebook of the site runs from its first cell to its last."""

import importlib.util
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_every_cell_of_the_notebook_runs():
    spec = importlib.util.spec_from_file_location("hooks", "docs/hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    hooks.run_notebook()
    shown = json.loads(Path(".figment/notebook.json").read_text())["shown"]
    said = "\n".join(text for cell in shown for text in cell)
    for part in ("% top-1", "multi_domain", " of a ", "data:image/png", "'label'"):
        assert part in said
