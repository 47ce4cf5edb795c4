"""What ZenML's Kubernetes orchestrator submits for the stack file: its own entry point runs, against an API that only listens."""

import importlib
import re
import sys
from pathlib import Path

import kubernetes.config.kube_config as kube_config
import pytest
import yaml
from zenml.client import Client
from zenml.integrations.kubernetes.constants import STEP_NAME_ANNOTATION_KEY
from zenml.integrations.kubernetes.orchestrators import kubernetes_orchestrator_entrypoint

from figment.errors import InputError
from figment.ops.roles import role_of
from figment.ops.stacks_apply import apply_stack
from figment.ops.stacks_file import read_stack
from tests.figment.ops.kubernetes_api import kubernetes_api
from tests.figment.ops.test_stacks import IMAGE, VARIABLES, compiled, make_secrets, stored

STORE = "memory://figment"  # any address: nothing is sent
ON_GPU = {"render", "train", "write"}
RUNS = {  # config by pipeline, with what makes all of its steps appear
    "bag_of_tricks": {"parts": 2, "fan_out": True},
    "tailored": {},
    "semantic_diversity": {"generated": True},
    "few_shot": {"fan_out": True},
    "predict": {},
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """What is submitted on kubernetes.yaml as it is, but for how often the orchestrator asks after its jobs."""
    content = yaml.safe_load(Path("configs/stacks/kubernetes.yaml").read_text())
    content["name"] = "test_kubernetes"
    content["components"]["orchestrator"]["configuration"] |= {
        "job_monitoring_interval": 0.05,
        "interrupt_check_interval": 0.5,
    }
    file = tmp_path_factory.mktemp("stack") / "kubernetes.yaml"
    file.write_text(yaml.safe_dump(content))
    before, patch = Client().active_stack_model.name, pytest.MonkeyPatch()
    make_secrets()
    apply_stack(read_stack(file, VARIABLES))
    with kubernetes_api(file.parent) as (kubeconfig, jobs):
        patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        yield jobs
    patch.undo()
    Client().activate_stack(before)


@pytest.mark.parametrize("name", RUNS)
def test_steps_that_render_and_train_get_a_gpu_and_the_others_none(jobs, name, tmp_path, monkeypatch):
    pods = submitted(jobs, name, RUNS[name], tmp_path, monkeypatch)
    for invocation, pod in pods.items():
        step = re.sub(r"_\d.*", "", invocation)
        container = pod["containers"][0]
        assert container["image"] == IMAGE
        assert container["args"][container["args"].index("--step_name") + 1] == invocation
        assert {e["name"]: e.get("value") for e in container["env"]}["FIGMENT_STORE"] == STORE
        assert {"secretRef": {"name": "figment-store", "optional": True}} in container["envFrom"]
        limits, requests = (container["resources"].get(kind, {}) for kind in ("limits", "requests"))
        if role_of(step) in ON_GPU:
            assert limits == {"nvidia.com/gpu": "1"}
            assert requests == {"nvidia.com/gpu": "1", "cpu": "4", "memory": "24576Mi"}
            assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
            assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        else:
            assert "nvidia.com/gpu" not in {**limits, **requests}
            assert {"cpu", "memory"} == set(requests)
            assert "nodeSelector" not in pod
            assert "tolerations" not in pod


def submitted(jobs, name, parameters, tmp_path, monkeypatch):
    """The pod of every step, by the step's name, as ZenML's orchestrator pod would ask the API for it."""
    monkeypatch.setenv("FIGMENT_STORE", STORE)
    config = yaml.safe_load(Path(f"configs/pocket/{name}.yaml").read_text())
    config["parameters"] |= parameters
    config["enable_pipeline_logs"] = False  # they would go to the bucket
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    pipeline = getattr(importlib.import_module(f"pipelines.{name}"), name)
    snapshot = compiled(pipeline, file)
    alone = {
        invocation: step.model_copy(update={"spec": step.spec.model_copy(update={"upstream_steps": []})})
        for invocation, step in snapshot.step_configurations.items()
    }  # free to start at once
    snapshot = stored(snapshot.model_copy(update={"step_configurations": alone}), pipeline)
    jobs.clear()
    monkeypatch.setattr(sys, "argv", ["entrypoint", "--snapshot_id", str(snapshot.id)])
    kubernetes_orchestrator_entrypoint.main()
    pods = {job["metadata"]["annotations"][STEP_NAME_ANNOTATION_KEY]: job["spec"]["template"]["spec"] for job in jobs}
    assert set(pods) == set(snapshot.step_configurations)
    return pods


def test_pods_that_could_not_find_each_others_files_are_not_started(jobs, monkeypatch):
    monkeypatch.delenv("FIGMENT_STORE", raising=False)
    with pytest.raises(InputError, match=r"FIGMENT_STORE is not set, and no volume of stack test_kubernetes"):
        compiled(importlib.import_module("pipelines.predict").predict, Path("configs/pocket/predict.yaml"))
