"""The local ZenML stack, prepared in one process and again at no harm: store, orchestrator, MLflow tracker, registry."""

import os
import sys
from pathlib import Path

import yaml

from figment.errors import InputError
from figment.ops import state
from figment.ops.databases import repository
from figment.ops.endings import ended
from figment.ops.environment import RESOURCES, data_is_missing, load_environment
from figment.ops.state import HERE
from figment.text import reason_of

LOCAL = RESOURCES / "configs" / "stacks" / "local.yaml"


def prepare(root: Path = HERE) -> None:
    """Make the folder ready to run: in a clone its data, the databases, a ZenML repository and, unless `figment stack apply` has
    made another one active, the local stack. Costs little when all is there. Raises InputError."""
    load_environment()
    with state.locked(root):
        initialise(root)
        fetch_data(root)

        from zenml.client import Client

        if Client().active_stack_model.name == "default":  # ZenML's own, with no tracker
            from figment.ops.stacks_apply import apply_stack
            from figment.ops.stacks_file import read_stack

            apply_stack(read_stack(LOCAL))


def initialise(root: Path = HERE) -> None:
    """With the clone locked: whole databases, and a ZenML repository in ``root``, which remembers its active stack."""
    state.ensure(root)
    from zenml.client import Client

    place = repository(root)
    if not (place / ".zen").is_dir():
        Client.initialize(place.absolute())
    if Client().root is None:  # of `zenml pipeline run`, which looked before there was one
        Client().activate_root(place.absolute())


def use_tracker(root: Path = HERE) -> None:
    """Point MLflow, and so the registry, at the tracker of the active stack, with its credentials. In a clone in which no stack
    was made active yet, the one of ``.env`` stays."""
    with state.locked(root):
        state.ensure(root)
    if not (repository(root) / ".zen").is_dir():
        return
    from zenml.client import Client
    from zenml.enums import StackComponentType
    from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker
    from zenml.stack import StackComponent

    for model in Client().active_stack_model.components.get(StackComponentType.EXPERIMENT_TRACKER, ()):
        tracker = StackComponent.from_model(model)
        if isinstance(tracker, MLFlowExperimentTracker):
            tracker.configure_mlflow()


def fetch_data(root: Path = HERE) -> None:
    """``dvc pull`` of data/ if files of it are missing or a pull was interrupted; offline, from the embedded remote, with
    git or without."""
    if not data_is_missing(root):
        return
    pulling = root / ".figment" / "pulling"
    tracked = yaml.safe_load((root / "data.dvc").read_text(encoding="utf-8"))["outs"][0]
    pulling.parent.mkdir(exist_ok=True)
    pulling.touch()
    from dvc.exceptions import DvcException

    from figment.ops.versioning import open_repo

    try:
        with open_repo(root) as repo:
            repo.pull(str(root / "data.dvc"))
    except DvcException as error:
        raise InputError(f"data/: dvc pull failed ({reason_of(error)}); mend it and run again") from error
    version = int(
        tracked["md5"][:7], 16
    )  # seconds: the same wherever it is pulled, since times tell versions of data apart
    for path in (root / "data").rglob("*"):
        os.utime(path, (version, version))
    pulling.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(ended(prepare))
