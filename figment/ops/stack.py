"""The local ZenML stack, prepared in one process and again at no harm: store, orchestrator, MLflow tracker, registry."""

import subprocess
import sys
from pathlib import Path

import yaml

from figment.errors import InputError
from figment.ops.environment import ROOT, load_environment

LOCAL = ROOT / "configs" / "stacks" / "local.yaml"


def prepare(root: Path = ROOT) -> None:
    """Make the clone ready to run: its data, a ZenML repository and, unless `figment stack apply` has made another one active,
    the local stack. Costs little when all is there."""
    load_environment(root)
    (root / ".figment").mkdir(exist_ok=True)
    fetch_data(root)
    initialise(root)

    from zenml.client import Client

    if Client().active_stack_model.name == "default":  # ZenML's own, with no tracker
        from figment.ops.stacks_apply import apply_stack
        from figment.ops.stacks_file import read_stack

        apply_stack(read_stack(LOCAL))


def initialise(root: Path = ROOT) -> None:
    """A ZenML repository in ``root``, which remembers its active stack."""
    from zenml.client import Client

    if not (root / ".zen").is_dir():
        Client.initialize(root)


def fetch_data(root: Path = ROOT) -> None:
    """``dvc pull`` of data/ if files of it are missing; offline, from the embedded remote."""
    wanted = yaml.safe_load((root / "data.dvc").read_text(encoding="utf-8"))["outs"][0]["nfiles"]
    if sum(path.is_file() for path in (root / "data").rglob("*")) >= wanted:
        return
    pull = subprocess.run(
        [sys.executable, "-m", "dvc", "pull", "-q", "data.dvc"], cwd=root, capture_output=True, text=True
    )
    if pull.returncode:
        raise InputError(f"data/: dvc pull failed ({' '.join(pull.stderr.split())[:300]}); mend it and run again")


if __name__ == "__main__":
    prepare()
