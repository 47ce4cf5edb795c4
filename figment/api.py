"""Figment from Python: run a config, check one, load what a run trained, read the images of a run."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from figment.evaluation.verdict import SUMMARY, Summary
from figment.ops.config_check import checked
from figment.ops.environment import load_environment
from figment.reading import read_artifact


def check(config: str | Path) -> list[str]:
    """A sentence for each thing that is wrong with a pipeline's config; none if its run would begin. Takes half a second."""
    return checked(Path(config)).faults


def run(config: str | Path, out: str | Path | None = None) -> Summary:
    """Run a config, as ``figment run`` does, and return how it ended: the headline table, the verdict, the paths of report and
    model. A finished run does nothing again, an interrupted one resumes. ``out`` replaces the config's output folder.

    Raises InputError, one sentence, for what the user can mend.
    """
    from figment.ops.run import run as run_config

    load_environment()
    output = run_config(Path(config), output=None if out is None else Path(out))
    return read_artifact(output / SUMMARY, Summary)


class Model:
    """A model that a run trained, by its folder: a classifier, few-shot head or semantic matrix."""

    def __init__(self, folder: Path):
        self.folder = folder

    def predict(self, images: str | Path | Iterable[str | Path], top_k: int | None = None) -> list[dict[str, Any]]:
        """The classes or tags of image files, folders of them or Parquet files, the likeliest first, each a mapping with "image",
        "label" and a number. ``top_k`` of an image, by default one class or ten tags.
        Raises InputError for an image that cannot be read."""
        from figment.evaluation.prediction import Asked, predict_files
        from figment.image_files import find_files

        paths = [images] if isinstance(images, str | Path) else list(images)
        files = find_files([Path(path) for path in paths])
        return [json.loads(line) for line in predict_files(self.folder, files, Asked(top_k=top_k))]


def load(folder: str | Path) -> Model:
    """The model in a folder, such as ``artifacts/bag_of_tricks/classifiers/combined``. Raises InputError if there is none."""
    from figment.errors import InputError

    load_environment()
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; give a model that a run trained, see the last lines of the run")
    return Model(Path(folder))
