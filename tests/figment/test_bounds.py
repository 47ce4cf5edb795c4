"""Bounds that a config's class states hold: a type's own bounds would replace those of a default's ``Field``."""

import ast
import importlib

import pytest

from figment.ops.environment import ROOT

BOUNDS = {"ge", "gt", "le", "lt", "multiple_of"}


def stated():
    """(module, class, field, bound, value) of each ``name: Type = Field(..., le=...)`` in the product."""
    for file in sorted((ROOT / "figment").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        classes = [item for item in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(item, ast.ClassDef)]
        fields = [(owner, line) for owner in classes for line in owner.body if isinstance(line, ast.AnnAssign)]
        for owner, line in fields:
            if isinstance(line.value, ast.Call) and ast.unparse(line.value.func) == "Field":
                for word in line.value.keywords:
                    if word.arg in BOUNDS:
                        yield module, owner.name, line.target.id, word.arg, ast.unparse(word.value)


@pytest.mark.parametrize(("module", "owner", "field", "bound", "value"), stated())
def test_a_bound_of_a_default_is_not_replaced_by_its_types(module, owner, field, bound, value):
    found = importlib.import_module(module)
    metadata = vars(found)[owner].model_fields[field].metadata
    effective = [getattr(item, bound) for item in metadata if getattr(item, bound, None) is not None]
    assert eval(value, vars(found)) in effective
