"""The examples of docs/extending.md do what the page says."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field, TypeAdapter, ValidationError

from figment.labels import LabelSpace
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import make_plan
from figment.planning.planners import Given, Planning, PromptPlanner
from figment.prompts.tricks import build_tricks, write_prompts
from figment.validation.policies import CocoPolicy, Top1Policy
from figment.validation.verdicts import REASONS, make_verdicts

PAGE = Path("docs/extending.md").read_text(encoding="utf-8")
SPACE = LabelSpace.of(["car", "frog", "ship"])


def module_of(file: str) -> ModuleType:
    """The page's code for a file, as a module."""
    code = re.search(rf"`{re.escape(file)}`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert code, f"the page shows no {file}"
    module = ModuleType(file.removesuffix(".py").replace("/", "."))
    sys.modules[module.__name__] = module  # pydantic looks types up in it
    exec(compile(code[1], file, "exec"), vars(module))
    return module


@pytest.fixture(scope="module")
def margin():
    return module_of("figment/validation/by_margin.py").MarginPolicy


@pytest.fixture(scope="module")
def seasons():
    return module_of("figment/planning/by_season.py").SeasonPlanner


def test_a_config_chooses_the_policy_by_its_kind(margin):
    union = TypeAdapter(Annotated[Top1Policy | CocoPolicy | margin, Field(discriminator="kind")])
    assert union.validate_python({"kind": "margin", "factor": 3}) == margin(factor=3)
    with pytest.raises(ValidationError, match="factor"):
        union.validate_python({"kind": "margin", "factor": 0})


def test_the_policy_gives_verdicts_as_any_other(margin):
    row = {"image_id": "a", "labels": ["car"], "trick": "t", "contrast": 0.3, "unsafe": False}
    scores = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    rows = [row, row | {"contrast": 0.0}, row]
    found = make_verdicts(rows, scores, SPACE, margin(factor=2)).to_pylist()
    assert [verdict["reason"] for verdict in found] == ["accepted", "blank", "wrong_class"]
    assert [verdict["predicted"] for verdict in found] == [["car"], ["car"], ["frog"]]
    assert make_verdicts([row], scores[:1], SPACE, margin(factor=3))["reason"].to_pylist() == ["wrong_class"]
    assert {verdict["reason"] for verdict in found} <= set(REASONS)
    assert "3 times as probable" in margin(factor=3).rule


def test_the_planner_plans_rows_of_its_own(seasons):
    generator = GeneratorConfig(model="some/model", scheduler="DDIMScheduler")
    book = write_prompts(SPACE, build_tricks(["base_class"], None, 7.5))
    planning = Planning(recipe="custom", planner=PromptPlanner(images=4), generator=generator)
    given = Given(SPACE, book, "main")
    plan = make_plan(seasons(images=4).rows(given, planning))
    prompts = {row["prompt"] for row in plan.to_pylist() if row["labels"] == ["car"]}
    assert prompts == {f"an image of a car in {season}" for season in ("spring", "summer", "autumn", "winter")}
    more = make_plan(seasons(images=6).rows(given, planning))
    assert set(plan["image_id"].to_pylist()) < set(more["image_id"].to_pylist())
    cell = ("base_class", ("frog",))
    topped = list(seasons(images=4).rows(given, planning, {cell: range(4, 6)}))
    assert {row.image_id for row in topped} <= set(more["image_id"].to_pylist())
    assert [row.labels for row in topped] == [("frog",)] * 2
    plain = make_plan(PromptPlanner(images=4).rows(given, planning))
    assert not set(plain["image_id"].to_pylist()) & set(plan["image_id"].to_pylist())
