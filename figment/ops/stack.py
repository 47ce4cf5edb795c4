"""The local ZenML stack, prepared in one process and again at no harm: store, orchestrator, MLflow tracker, registry."""

import os
from pathlib import Path

import yaml

from figment.errors import InputError
from figment.ops.environment import ROOT, load_environment

STACK, TRACKER, REGISTRY = "figment", "figment_mlflow", "figment_registry"


def prepare(root: Path = ROOT) -> None:
    """Make the clone ready to run: its data, a ZenML repository and the stack. Costs little when all is there."""
    load_environment(root)
    (root / ".figment").mkdir(exist_ok=True)
    fetch_data(root)

    from zenml.client import Client
    from zenml.enums import StackComponentType as Kind

    if not (root / ".zen").is_dir():
        Client.initialize(root)
    client = Client()
    if STACK not in {stack.name for stack in client.list_stacks(name=STACK)}:
        default = client.get_stack("default")
        tracker = _component(Kind.EXPERIMENT_TRACKER, TRACKER, {"tracking_uri": os.environ["MLFLOW_TRACKING_URI"]})
        registry = _component(Kind.MODEL_REGISTRY, REGISTRY, {})
        client.create_stack(
            STACK,
            {
                Kind.ORCHESTRATOR: default.components[Kind.ORCHESTRATOR][0].id,
                Kind.ARTIFACT_STORE: default.components[Kind.ARTIFACT_STORE][0].id,
                Kind.EXPERIMENT_TRACKER: tracker,
                Kind.MODEL_REGISTRY: registry,
            },
        )
    if client.active_stack_model.name != STACK:
        client.activate_stack(STACK)


def fetch_data(root: Path = ROOT) -> None:
    """``dvc pull`` of data/ if files of it are missing; offline, from the embedded remote, with git or without."""
    tracked = yaml.safe_load((root / "data.dvc").read_text(encoding="utf-8"))["outs"][0]
    if sum(path.is_file() for path in (root / "data").rglob("*")) >= tracked["nfiles"]:
        return
    from dvc.exceptions import DvcException

    from figment.ops.versioning import open_repo

    try:
        with open_repo(root) as repo:
            repo.pull(str(root / "data.dvc"))
    except DvcException as error:
        raise InputError(
            f"data/: dvc pull failed ({' '.join(str(error).split())[:300]}); mend it and run again"
        ) from error
    version = int(
        tracked["md5"][:7], 16
    )  # seconds: the same wherever it is pulled, since times tell versions of data apart
    for path in (root / "data").rglob("*"):
        os.utime(path, (version, version))


def _component(kind: object, name: str, configuration: dict[str, str]) -> object:
    from zenml.client import Client

    client = Client()
    found = client.list_stack_components(type=str(kind), name=name)
    if found.total:
        return found.items[0].id
    return client.create_stack_component(name, "mlflow", kind, configuration).id  # type: ignore[arg-type]


if __name__ == "__main__":
    prepare()
