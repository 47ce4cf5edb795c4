"""Where things are: what Figment brings along, and the folder that a command works in.

Paths are relative to the working directory, and what the tools write goes into its ``.figment/``; nothing is reported to anyone.
``.env`` is the one list of the variables for that. ``make`` and ``source activate.sh`` export it for shells; Python entry points
load it here.
"""

import os
from pathlib import Path

import yaml

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
CLONE = not (PACKAGE / "_resources").is_dir()  # or else a wheel, which has them (hatch_build.py)
RESOURCES = ROOT if CLONE else PACKAGE / "_resources"  # configs/, models/pocket/, .env
PIPELINES = ROOT / "pipelines" if CLONE else PACKAGE / "_pipelines"
PREFIX = "" if CLONE else f"{PACKAGE.name}._"  # of the packages pipelines, steps and models
# A clone keeps caches inside itself, so that removing it leaves nothing; an installed Figment uses the user's own.
USERS_OWN = ("HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "UV_CACHE_DIR", "UV_PYTHON_INSTALL_DIR")


def load_environment() -> None:
    """Set the variables of ``.env`` that are not set yet. Call before importing the tools."""
    for line in (RESOURCES / ".env").read_text(encoding="utf-8").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#") and (CLONE or name not in USERS_OWN):
            os.environ.setdefault(name.strip(), value.strip())


def data_is_missing(root: Path) -> bool:
    """Whether files of a clone's data/ are missing, or its last `dvc pull` was interrupted."""
    pointer = root / "data.dvc"
    if not pointer.is_file():
        return False
    tracked = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]["nfiles"]
    pulling = root / ".figment" / "pulling"
    return pulling.exists() or sum(path.is_file() for path in (root / "data").rglob("*")) < tracked
