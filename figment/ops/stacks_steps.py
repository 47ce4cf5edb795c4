"""What a stack asks for each step (GPUs, memory, nodes), merged under what the run's own config says.

A stack file names roles, so that a recipe's config says nothing about machines. What was applied travels with the stack, as a
label, so that everybody who shares a ZenML server runs with the same.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from zenml.config.resource_settings import ResourceSettings
from zenml.models import ComponentResponse, StackResponse
from zenml.utils.dict_utils import recursive_update

from figment import store
from figment.errors import InputError
from figment.ops.roles import role_of

LABEL = "figment"  # of a stack: its file's `settings` and `steps`, as JSON


def with_stack(stack: StackResponse, names: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` and ``steps`` of a run configuration on this stack: of the stack, then of a step's role, then of the step
    by its name, then of ``config``, each over the one before. ``names``: the step's name of every invocation."""
    asked = json.loads((stack.labels or {}).get(LABEL, "{}"))
    on_kubernetes = any(c.flavor_name == "kubernetes" for c in stack.components.get("orchestrator", ()))
    if on_kubernetes and not store.url() and not any(map(shares_artifacts, stack.components["orchestrator"])):
        raise InputError(
            f"{store.VARIABLE} is not set, and no volume of stack {stack.name} is mounted at {store.FOLDER}: pods share no disk; "
            f"export {store.VARIABLE}=s3://BUCKET/figment"
        )
    steps = {}
    for invocation, name in names.items():
        merged: dict[str, Any] = {}
        for part in (role_of(name), name):
            merged = merge(merged, asked.get("steps", {}).get(part))
        merged = merge(merged, (config.get("steps") or {}).get(invocation))
        if on_kubernetes and "settings" in merged:
            merged["settings"] = pods(merged["settings"])
        if merged:
            steps[invocation] = merged
    settings = merge(asked.get("settings", {}), config.get("settings"))
    return {"settings": pods(settings) if on_kubernetes else settings, "steps": steps}


def shares_artifacts(orchestrator: ComponentResponse) -> bool:
    """Whether its pods have a volume for what steps exchange."""
    mounts = (orchestrator.configuration.get("pod_settings") or {}).get("volume_mounts") or []
    return any(str(mount.get("mountPath", "")).rstrip("/").endswith(f"/{store.FOLDER}") for mount in mounts)


def merge(under: Mapping[str, Any], over: Mapping[str, Any] | None) -> dict[str, Any]:
    """Mappings are merged key by key; anything else is replaced."""
    return recursive_update(copy.deepcopy(dict(under)), copy.deepcopy(dict(over or {})))


def pods(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with ``resources`` as requests and limits of the pod: of static pipelines ZenML's Kubernetes orchestrator
    ignores ResourceSettings and goes by ``pod_settings`` alone. What these say already stands."""
    settings = dict(settings)
    if not (resources := settings.pop("resources", None)):
        return settings
    from zenml.integrations.kubernetes.kube_utils import convert_resource_settings_to_k8s_format

    requests, limits, _ = convert_resource_settings_to_k8s_format(ResourceSettings.model_validate(resources))
    key = next((key for key in settings if key.startswith("orchestrator")), "orchestrator")
    derived = {"pod_settings": {"resources": {"requests": requests, "limits": limits}}}
    return {**settings, key: merge(derived, settings.get(key))}
