"""The tools keep to the clone: their variables are set before they are imported."""

import os
import subprocess
import sys

from figment.ops.environment import ROOT

TOOLS = (
    "onnxruntime, mlflow, zenml, great_expectations, dvc.repo, diffusers, transformers, open_clip, matplotlib.pyplot"
)


def test_no_tool_leaves_anything_in_the_users_home(tmp_path):
    """ONNX Runtime, left alone, puts an identifier there for its telemetry."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    code = f"from figment.ops.environment import load_environment; load_environment(); import {TOOLS}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=kept | {"HOME": str(tmp_path)})
    assert not list(tmp_path.rglob("*"))
