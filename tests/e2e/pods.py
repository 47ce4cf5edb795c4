"""An orchestrator that treats steps as a cluster does: each is a process of its own, started by ZenML's step entrypoint in a
fresh copy of the code without .git, data/, artifacts/ or a home, as soon as those before it are done.

What stands for servers is shared: ZenML's and MLflow's databases, and whatever the stack and FIGMENT_STORE name. A pod is
forked from a Python that has imported other people's packages, which would take each of them seconds; the project's own are
imported from the pod's folder.
"""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import uuid4

from zenml.client import Client
from zenml.config.global_config import GlobalConfiguration
from zenml.entrypoints import entrypoint
from zenml.entrypoints.step_entrypoint_configuration import StepEntrypointConfiguration
from zenml.enums import StackComponentType as Kind
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor

from figment.ops.environment import ROOT
from tests.e2e.processes import processes

RUN_ID = "PODS_RUN_ID"
OWN = ("figment", "models", "steps", "pipelines", "tests")
RUNNING: dict[str, BaseProcess] = {}  # pods by the step's name, for tests that kill one


def build_image(folder: Path) -> None:
    """The code as it would be in an image: no .git, no data/, nothing that a run has written."""
    ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
    for name in (*OWN, "configs", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("data.dvc", "uv.lock", "pyproject.toml", ".env", "NOTICE"):
        shutil.copy2(ROOT / name, folder / name)


def run_pod(pod: Path, environment: Mapping[str, str], arguments: list[str]) -> None:
    """In a new process: ``python -m zenml.entrypoints.entrypoint`` with these arguments, in ``pod``, its output in a log."""
    log = os.open(pod.with_suffix(".log"), os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(pod)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] in (*OWN, "__mp_main__")]:
        del sys.modules[name]
    sys.path[:] = [str(pod), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.modules["__main__"] = entrypoint
    sys.argv = ["entrypoint", *arguments]
    entrypoint.main()


class PodEntrypoint(StepEntrypointConfiguration):
    """ZenML's own, but that the working folder is the pod's: each pod of a cluster has another /app."""

    def prepare_code_environment(self) -> None:
        pass


class PodConfig(BaseOrchestratorConfig):
    """``folder`` holds ``image`` and gets a folder and a log for every pod; ``at_once`` of them run side by side."""

    folder: str
    tracking_uri: str
    at_once: int = 2


class PodOrchestrator(BaseOrchestrator):
    @property
    def config(self) -> PodConfig:
        return self._config  # type: ignore[return-value]

    def get_orchestrator_run_id(self) -> str:
        return os.environ[RUN_ID]

    def submit_pipeline(self, snapshot: Any, step_environments: dict[str, dict[str, str]], **_: Any) -> None:
        """Run all steps; after one that failed, or was killed, no other is started. Raises RuntimeError then."""
        run, waiting, done, failed = str(uuid4()), dict(snapshot.step_configurations), set(), []
        while (waiting and not failed) or RUNNING:
            for name, step in list(waiting.items()):
                if not failed and len(RUNNING) < self.config.at_once and set(step.spec.upstream_steps) <= done:
                    del waiting[name]
                    RUNNING[name] = self.start(name, snapshot.id, step_environments[name] | {RUN_ID: run})
            time.sleep(0.05)
            for name, process in [(name, p) for name, p in RUNNING.items() if p.exitcode is not None]:
                del RUNNING[name]
                (failed.append if process.exitcode else done.add)(name)
        if failed:
            raise RuntimeError(f"step {', '.join(failed)} failed: see its log in {self.config.folder}")

    def start(self, name: str, snapshot: Any, environment: dict[str, str]) -> BaseProcess:
        folder = Path(self.config.folder)
        pod = folder / f"{len(list(folder.glob('*-*/'))):03d}-{name}"
        shutil.copytree(folder / "image", pod, copy_function=os.link)
        (pod / ".dvc" / "config").unlink()
        shutil.copy(folder / "image" / ".dvc" / "config", pod / ".dvc" / "config")
        assert not any((pod / absent).exists() for absent in (".git", "artifacts", "data", ".figment", "home"))
        given = ("PATH", "LANG", "OMP_NUM_THREADS", "AWS_")  # by a cluster's nodes and secrets
        env = {key: value for key, value in os.environ.items() if key.startswith(given)}
        lines = (line.partition("=") for line in (pod / ".env").read_text().splitlines() if not line.startswith("#"))
        env |= {key: value for key, _, value in lines if key}  # an image has them
        env |= environment | {"HOME": str(pod / "home"), "MLFLOW_TRACKING_URI": self.config.tracking_uri}
        database = environment["ZENML_STORE_URL"].removeprefix("sqlite:///")
        env |= {"HF_HUB_OFFLINE": "1", "ZENML_STORE_URL": f"sqlite:///{os.path.abspath(database)}"}
        env["ZENML_LOCAL_STORES_PATH"] = os.path.abspath(GlobalConfiguration().local_stores_path)
        arguments = PodEntrypoint.get_entrypoint_command()[3:] + PodEntrypoint.get_entrypoint_arguments(
            step_name=name, snapshot_id=snapshot
        )
        process = processes.Process(target=run_pod, args=(pod, env, arguments))
        process.start()
        return process


@contextlib.contextmanager
def pods_stack(folder: Path, tracking_uri: str) -> Iterator[None]:
    """Make a stack of pods in ``folder``, of ``tracking_uri``, and of ZenML's S3 artifact store beside FIGMENT_STORE, the
    active one."""
    client, name = Client(), f"pods-{uuid4().hex[:8]}"
    build_image(folder / "image")
    flavors = {flavor.name for flavor in client.list_flavors(type=Kind.ORCHESTRATOR, size=100)}
    if "pods" not in flavors:
        client.create_flavor("tests.e2e.pods.PodFlavor", Kind.ORCHESTRATOR)
    path = os.environ["FIGMENT_STORE"].rpartition("/")[0] + "/zenml"
    keys = {"key": os.environ["AWS_ACCESS_KEY_ID"], "secret": os.environ["AWS_SECRET_ACCESS_KEY"]}
    keys["client_kwargs"] = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    parts = {
        Kind.ORCHESTRATOR: ("pods", {"folder": str(folder), "tracking_uri": tracking_uri}),
        Kind.ARTIFACT_STORE: ("s3", {"path": path, **keys}),
        Kind.EXPERIMENT_TRACKER: ("mlflow", {"tracking_uri": tracking_uri}),
        Kind.MODEL_REGISTRY: ("mlflow", {}),
    }
    made = {kind: client.create_stack_component(name, flavor, kind, of).id for kind, (flavor, of) in parts.items()}
    before = client.active_stack_model.id
    client.create_stack(name, made)
    client.activate_stack(name)
    try:
        yield
    finally:
        client.activate_stack(before)
        client.delete_stack(name, recursive=True)


class PodFlavor(BaseOrchestratorFlavor):
    @property
    def name(self) -> str:
        return "pods"

    @property
    def config_class(self) -> type[PodConfig]:
        return PodConfig

    @property
    def implementation_class(self) -> type[PodOrchestrator]:
        return PodOrchestrator
