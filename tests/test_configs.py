"""Every config can be used: its command names a pipeline, its parameters are valid, its label space loads."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from figment.labels import LabelSpace
from figment.ops.pipelines import check_config

CONFIGS = sorted(path for path in Path("configs").rglob("*.yaml") if path.parts[1] != "labels")


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_a_config_opens_with_the_command_that_runs_it_and_is_valid(path):
    command = re.match(r"# zenml pipeline run (\S+)\.(\w+) -c (\S+)\n", path.read_text())
    assert command, "the first line is the command"
    module, name, itself = command.groups()
    assert Path(itself) == path
    parameters = check_config(path, getattr(importlib.import_module(module), name).entrypoint)
    if "labels" in parameters:
        LabelSpace.load(Path(parameters["labels"])).choose(parameters["classes"])


@pytest.mark.parametrize("path", sorted(Path("configs/labels").glob("*.yaml")), ids=str)
def test_every_label_space_loads(path):
    assert len(LabelSpace.load(path)) >= 2


def test_the_dvc_stage_runs_the_config_it_depends_on():
    stage = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["bag_of_tricks"]
    assert next(iter(stage["params"][0])) in stage["cmd"]
