"""Every config can be used: its command names a pipeline, its parameters are valid, its label space loads."""

import importlib
import re
from pathlib import Path

import diffusers
import numpy as np
import pytest
import timm
import yaml

from figment.clip.scorer import ClipConfig, check_clip
from figment.labels import LabelSpace
from figment.ops.pipelines import check_config
from figment.validation.policies import Top1Policy
from figment.validation.verdicts import BLANK, make_verdicts

CONFIGS = sorted(path for path in Path("configs").rglob("*.yaml") if path.parts[1] not in ("labels", "stacks"))


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_a_config_opens_with_the_command_that_runs_it_and_is_valid(path):
    command = re.match(r"# zenml pipeline run (\S+)\.(\w+) -c (\S+)\n", path.read_text())
    assert command, "the first line is the command"
    module, name, itself = command.groups()
    assert Path(itself) == path
    parameters = check_config(path, getattr(importlib.import_module(module), name).entrypoint)
    if "labels" in parameters:
        LabelSpace.load(Path(parameters["labels"])).choose(parameters["classes"])


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_what_a_config_names_is_known(path):
    parameters = yaml.safe_load(path.read_text())["parameters"]
    for clip in (parameters.get("clip"), parameters.get("backbone"), parameters.get("vectors", {}).get("clip")):
        if clip and "model" in clip:
            check_clip(ClipConfig(**clip))
    if scheduler := parameters.get("generator", {}).get("scheduler"):
        assert hasattr(diffusers, scheduler)
    if model := parameters.get("training", {}).get("model"):
        assert timm.is_model(model.split(".")[0])
        assert "." not in model or model in timm.list_pretrained()
    data = parameters.get("data", {})
    if str(data.get("labels")).startswith("configs/") and data.get("kind") != "labelled":
        assert LabelSpace.load(Path(data["labels"])).unseen_ids


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
def test_the_papers_bag_of_tricks_drops_only_what_shows_nothing_at_all(name):
    parameters = yaml.safe_load(Path(f"configs/paper/{name}.yaml").read_text())["parameters"]
    acceptance = Top1Policy(**parameters["acceptance"])
    sky = {"image_id": "a", "labels": ["sea"], "trick": "t", "contrast": 0.005, "unsafe": False}
    rows, scores = [sky, sky | {"contrast": BLANK - 1e-6}], np.array([[0.0, 1.0], [1.0, 0.0]])
    found = make_verdicts(rows, scores, LabelSpace.of(["sea", "river"]), acceptance)["reason"].to_pylist()
    assert found == ["accepted", "blank"]  # a smooth image, taken for another class; and one that the gates stop at


@pytest.mark.parametrize("path", sorted(Path("configs/labels").glob("*.yaml")), ids=str)
def test_every_label_space_loads(path):
    assert len(LabelSpace.load(path)) >= 2


STAGES = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("name", STAGES)
def test_a_dvc_stage_depends_on_the_config_and_the_code_it_runs(name):
    stage = STAGES[name]
    module, config = re.fullmatch(r"python -m figment\.ops\.run (\S+)\.\w+ -c (\S+)", stage["cmd"]).groups()
    assert [list(params) for params in stage["params"]] == [[config]]
    assert {"figment", "models", "steps", "uv.lock", module.replace(".", "/") + ".py"} <= set(stage["deps"])
    output = yaml.safe_load(Path(config).read_text())["parameters"]["output"]
    made = [path for kind in ("outs", "metrics", "plots") for out in stage.get(kind, []) for path in out]
    assert made
    assert all(path.startswith(f"{output}/") for path in made)
