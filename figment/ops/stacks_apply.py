"""Make ZenML's database say what a stack file says: create what is missing, update what differs, leave the rest."""

import json
from typing import Any

from zenml.client import Client
from zenml.enums import StackComponentType as Kind
from zenml.utils import secret_utils

from figment.errors import InputError
from figment.ops.stacks_file import Component, StackFile, flavors
from figment.ops.stacks_steps import LABEL


def apply_stack(stack: StackFile) -> list[str]:
    """Register components and stack, and make it the active one. Returns a line for each thing that was done."""
    check_secrets(stack)
    client, done = Client(), []
    ids = {}
    for kind, component in stack.components.items():
        ids[Kind(kind)], line = _component(Kind(kind), component, component.name or stack.name)
        done += line
    labels = {LABEL: json.dumps({"settings": stack.settings, "steps": stack.steps}, sort_keys=True)}
    found = next(iter(client.list_stacks(name=stack.name)), None)
    if found is None:
        client.create_stack(stack.name, ids, labels=labels)
        done.append(f"created stack {stack.name}")
    else:
        wanted = {kind: [identity] for kind, identity in ids.items()}
        present = {kind: [c.id for c in found.components.get(kind, ())] for kind in {*found.components, *wanted}}
        parts = {kind: wanted.get(kind, []) for kind in present if wanted.get(kind, []) != present[kind]}
        if parts or (found.labels or {}).get(LABEL) != labels[LABEL]:
            client.update_stack(found.id, component_updates=parts or None, labels=labels)
            done.append(f"updated stack {stack.name}")
    if client.active_stack_model.name != stack.name:
        client.activate_stack(stack.name)
        done.append(f"active now: {stack.name}")
    return done


def check_secrets(stack: StackFile) -> None:
    """Raises InputError with the command that makes the first secret which is named and not there."""
    wanted: dict[str, set[str]] = {}
    for component in stack.components.values():
        for value in (component.configuration or {}).values():
            if secret_utils.is_secret_reference(value):
                name, key = secret_utils.parse_secret_reference(value)
                wanted.setdefault(name, set()).add(key)
    for name, keys in wanted.items():
        try:
            there = set(Client().get_secret_by_name_and_private_status(name).values)
        except KeyError:
            there = set()
        if not keys <= there:
            options = " ".join(f"--{key}=..." for key in sorted(keys | there))
            verb = "update" if there else "create"
            lacking = ", ".join(sorted(keys - there))
            raise InputError(f"secret {name!r} lacks {lacking}; `zenml secret {verb} {name} {options}` sets it")


def missing_packages(stack: StackFile) -> list[str]:
    """Packages that a run on this stack would ask for and that are not installed here."""
    missing = set()
    for kind, component in stack.components.items():
        try:
            flavors()[kind, component.flavor]().implementation_class  # noqa: B018  importing it is the test
        except ModuleNotFoundError as error:
            missing.add(str(error.name))
    return sorted(missing)


def _component(kind: Kind, component: Component, name: str) -> tuple[Any, list[str]]:
    """The component's id, and what was done: created, updated by these keys, or nothing."""
    client, what = Client(), f"{kind.value} {name}"
    found = next(iter(client.list_stack_components(type=kind.value, name=name)), None)
    if found is None:
        made = client.create_stack_component(name, component.flavor, kind, component.configuration or {})
        return made.id, [f"created {what}"]
    if found.flavor_name != component.flavor:
        raise InputError(
            f"components.{kind.value}: {name!r} is registered already, with flavor {found.flavor_name!r}, not "
            f"{component.flavor!r}; give this one another `name`, or delete that one"
        )
    if component.configuration is None:
        return found.id, []
    model = flavors()[kind.value, component.flavor]().config_class
    wanted = model(**component.configuration).model_dump(mode="json", exclude_unset=True)
    keys = sorted(key for key in {*wanted, *found.configuration} if wanted.get(key) != found.configuration.get(key))
    if not keys:
        return found.id, []
    client.update_stack_component(found.id, kind, configuration={key: component.configuration.get(key) for key in keys})
    return found.id, [f"updated {what}: {', '.join(keys)}"]
