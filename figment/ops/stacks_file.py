"""A stack file: components, what pipelines ask of them, and what each step asks of a machine, checked before it is applied.

    name: of the stack
    components: {TYPE: {flavor:, name:, configuration:}}    # name: the stack's, unless given
    settings: {docker:, orchestrator:, ...}                 # of every pipeline
    steps: {ROLE or step: {settings:, retry:, ...}}         # ZenML's step configuration; roles: figment.ops.stacks_steps

``${NAME}`` stands for an environment variable; a secret is only ever named, as ``{{secret.key}}``. ZenML ignores keys that it
does not know; here each is refused with the nearest that it does.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from zenml.config.base_settings import BaseSettings
from zenml.config.docker_settings import DockerBuildOptions, DockerSettings
from zenml.config.resource_settings import ResourceSettings
from zenml.config.step_configurations import StepConfigurationUpdate
from zenml.enums import StackComponentType
from zenml.stack.flavor import Flavor
from zenml.stack.flavor_registry import FlavorRegistry
from zenml.utils import secret_utils

from figment.errors import InputError
from figment.ops.checking import complaint, models_of, refuse_unknown
from figment.ops.roles import ROLES, roles
from figment.reading import mapping, name_of, read_yaml
from figment.text import reason_of, shown

STACK = "a stack file with 'name:' and 'components:'"
VARIABLE = re.compile(r"\$\{(\w+)\}")
OF_KUBERNETES = {  # fields of pod settings that hold Kubernetes' own objects
    "affinity": "V1Affinity",
    "container_security_context": "V1SecurityContext",
    "env": "V1EnvVar",
    "env_from": "V1EnvFromSource",
    "resources": "V1ResourceRequirements",
    "tolerations": "V1Toleration",
    "volume_mounts": "V1VolumeMount",
    "volumes": "V1Volume",
}


class Component(BaseModel):
    model_config = ConfigDict(extra="forbid")
    flavor: str
    name: str | None = None
    configuration: dict[str, Any] | None = None  # none: one that exists is taken as it is


class StackFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    components: dict[str, Component]
    settings: dict[str, Any] = {}
    steps: dict[str, dict[str, Any]] = {}


def read_stack(path: Path, variables: Mapping[str, str] = os.environ) -> StackFile:
    """The file, every key and value checked against ZenML's own classes. Raises InputError naming the file and the field."""
    content = mapping(read_yaml(path, STACK), name_of(path), STACK)
    try:
        stack = StackFile.model_validate(_resolve(content, variables, f"{path}"))
    except ValidationError as error:
        raise InputError(f"{path}: {complaint(error, StackFile)}") from error
    refuse_unknown(stack.components, StackComponentType.values(), f"{path}: components")
    for needed in ("orchestrator", "artifact_store"):
        if needed not in stack.components:
            raise InputError(f"{path}: components: {needed!r} is missing; every ZenML stack has one")
    for kind, component in stack.components.items():
        where = f"{path}: components.{kind}"
        known = [flavor for k, flavor in flavors() if k == kind]
        refuse_unknown([component.flavor], known, f"{where}.flavor")
        if component.configuration is not None:
            check_configuration(kind, component, f"{where}.configuration")
    check_settings(stack, stack.settings, f"{path}: settings")
    refuse_unknown(stack.steps, [*ROLES, *roles()], f"{path}: steps")
    for name, asked in stack.steps.items():
        where = f"{path}: steps.{name}"
        check_fields(StepConfigurationUpdate, {**asked, "settings": {}}, where)
        check_settings(stack, asked.get("settings") or {}, f"{where}.settings")
    return stack


@cache
def flavors() -> dict[tuple[str, str], type[Flavor]]:
    """ZenML's flavors by component type and name; their packages need not be installed."""
    registry = FlavorRegistry()
    return {(str(f().type), f().name): f for f in (*registry.builtin_flavors, *registry.integration_flavors)}


def check_configuration(kind: str, component: Component, where: str) -> None:
    """Known keys, valid values, and no secret in clear."""
    model = flavors()[kind, component.flavor]().config_class
    values = component.configuration or {}
    # ZenML would look up a secret that a validator asks for; whether it exists is asked when the file is applied
    check_fields(model, {k: "secret" if secret_utils.is_secret_reference(v) else v for k, v in values.items()}, where)
    for name, value in values.items():
        if secret_utils.is_secret_field(model.model_fields[name]) and not secret_utils.is_secret_reference(value):
            raise InputError(
                f"{where}.{name}: a secret stands there in clear; name one that `zenml secret create` made: "
                "'{{secret.key}}'"
            )


def check_settings(stack: StackFile, settings: Mapping[str, Any], where: str) -> None:
    """``docker``, ``resources`` and those of the stack's components, each by its own class."""
    classes: dict[str, Any] = {"docker": DockerSettings, "resources": ResourceSettings}
    for kind, component in stack.components.items():
        if found := settings_class(kind, component.flavor):
            classes[kind] = found
    refuse_unknown(settings, classes, where)
    for name, values in settings.items():
        check_fields(classes[name], values, f"{where}.{name}")


def check_run_settings(settings: Any, where: str) -> None:
    """Those of a pipeline or a step, on whatever stack it may run: ``docker``, ``resources``, ``TYPE.FLAVOR`` by their own
    class; of a ``TYPE`` alone the keys and values that one of its flavors takes."""
    if not isinstance(settings, dict):
        raise InputError(f"{where}: found {shown(settings)}; expected keys with values, such as 'docker: {{...}}'")
    classes: dict[str, list[Any]] = {"docker": [DockerSettings], "resources": [ResourceSettings]}
    if settings.keys() - classes.keys():
        for kind, flavor in flavors():
            if found := settings_class(kind, flavor):
                classes.setdefault(kind, []).append(found)
                classes[f"{kind}.{flavor}"] = [found]
    refuse_unknown(settings, classes, where)
    for name, values in settings.items():
        if not isinstance(values, dict):
            raise InputError(f"{where}.{name}: expected fields with values; found {shown(values)}")
        refuse_unknown(
            values, {field: None for model in classes[name] for field in model.model_fields}, f"{where}.{name}"
        )
        fitting = [model for model in classes[name] if set(values) <= set(model.model_fields)] or classes[name][:1]
        errors = []
        for model in fitting:
            try:
                check_fields(model, values, f"{where}.{name}")
                break
            except InputError as error:
                errors.append(error)
        else:
            raise errors[0]


def settings_class(kind: str, flavor: str) -> type[BaseSettings] | None:
    """What a step may ask of a component of this flavor: the settings that its configuration class inherits."""
    ancestors = flavors()[kind, flavor]().config_class.__mro__
    found = (c for c in ancestors if issubclass(c, BaseSettings) and c.__name__.endswith("Settings"))
    return next((c for c in found if c is not BaseSettings), None)


def check_fields(model: Any, values: Any, where: str) -> None:
    """Refuse what ``model`` would ignore, at any depth, then let it judge the values."""
    _check_keys(model, values, where)
    try:
        model(**values)
    except ValidationError as error:
        raise InputError(f"{where}.{complaint(error, model)}") from error
    except ModuleNotFoundError as error:
        raise InputError(
            f"{where}: cannot be checked, as the package {error.name!r} is not installed; `uv sync --extra {error.name}` "
            "installs it"
        ) from error
    except Exception as error:  # ZenML's configuration classes raise errors of their own
        raise InputError(f"{where}: {reason_of(error)}") from error


def _check_keys(model: Any, values: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected fields with values; found {shown(values)}")
    if model is DockerBuildOptions:  # any option of `docker build`
        return
    refuse_unknown(values, model.model_fields, where)
    for name, value in values.items():
        if model.__name__ == "KubernetesPodSettings" and name in OF_KUBERNETES:
            check_kubernetes(OF_KUBERNETES[name], value, f"{where}.{name}")
            continue
        for deeper in models_of(model.model_fields[name]):
            if isinstance(value, dict):
                _check_keys(deeper, value, f"{where}.{name}")


def check_kubernetes(name: str, value: Any, where: str) -> None:
    """An object of the Kubernetes API, or a list of them: known fields only, and what they need."""
    try:
        from kubernetes.client import models
    except ModuleNotFoundError as error:
        raise InputError(
            f"{where}: cannot be checked, as the package 'kubernetes' is not installed; `uv sync --extra kubernetes` installs it"
        ) from error

    if isinstance(value, list):
        for number, item in enumerate(value):
            check_kubernetes(name, item, f"{where}[{number}]")
        return
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected the fields of a Kubernetes {name[2:]}; found {shown(value)}")
    kind = getattr(models, name)
    fields = {sent: field for field, sent in kind.attribute_map.items()}
    refuse_unknown(value, fields, where)
    for sent, inner in value.items():
        if found := re.search(r"V1\w+", kind.openapi_types[fields[sent]]):
            check_kubernetes(found[0], inner, f"{where}.{sent}")
    try:
        kind(**{fields[sent]: inner for sent, inner in value.items()})
    except ValueError as error:
        raise InputError(f"{where}: {reason_of(error)}") from error


def _resolve(content: Any, variables: Mapping[str, str], path: str) -> Any:
    """The content with ``${NAME}`` replaced in every text."""

    def value_of(found: re.Match[str]) -> str:
        if not variables.get(found[1]):
            raise InputError(f"{path}: ${{{found[1]}}} is not set; `export {found[1]}=...` before the command")
        return variables[found[1]]

    return _texts(content, lambda text: VARIABLE.sub(value_of, text))


def _texts(content: Any, change: Callable[[str], str]) -> Any:
    if isinstance(content, dict):
        return {key: _texts(value, change) for key, value in content.items()}
    if isinstance(content, list):
        return [_texts(value, change) for value in content]
    return change(content) if isinstance(content, str) else content
