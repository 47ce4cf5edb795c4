"""A step finds its files by what its arguments name."""

import re
from pathlib import Path

from figment.manifests import ClassifierRef, Classifiers, FileRef
from figment.ops.environment import ROOT
from figment.ops.steps import named
from figment.prompts.contexts import ContextConfig


def test_paths_below_artifacts_are_found_in_all_that_steps_are_given():
    weights = FileRef(path="artifacts/run/classifiers/real/model.safetensors", sha256="0" * 64)
    given = {
        "plan": FileRef(path="artifacts/run/plan.parquet", sha256="0" * 64),
        "classifiers": Classifiers(items=(ClassifierRef(name="real", images=1, weights=weights),)),
        "contexts": ContextConfig(file="artifacts/mine/contexts.csv"),
        "after": [None, 3, "artifacts", "data/real"],
        "output": "artifacts/run",
    }
    assert sorted(map(str, named([(), given]))) == [
        "artifacts/mine/contexts.csv", "artifacts/run", "artifacts/run", "artifacts/run/classifiers/real"
    ]  # fmt: skip


def test_every_step_is_one_that_runs_anywhere():
    used = [file for file in Path(ROOT, "steps").rglob("*.py") if re.search(r"(?m)^@step\b", file.read_text())]
    assert len(used) > 10
    assert [file for file in used if "from figment.ops.steps import step\n" not in file.read_text()] == []
