"""Who made this: git revision, DVC hash of the inputs and the ZenML run, as tags of the MLflow run."""

import subprocess
from pathlib import Path

import yaml


def lineage_tags(pipeline_run: str) -> dict[str, str]:
    return {
        "zenml.run": pipeline_run,
        "git.sha": _git("rev-parse", "HEAD"),
        "git.dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "dvc.data_md5": data_md5(Path("data.dvc")),
    }


def data_md5(tracked: Path) -> str:
    """DVC's hash of ``data/`` as ``data.dvc`` records it."""
    if not tracked.is_file():
        return "untracked"
    return str(yaml.safe_load(tracked.read_text(encoding="utf-8"))["outs"][0]["md5"])


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no git"
