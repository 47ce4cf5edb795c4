"""The pocket configs as recipes, for what takes one."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from figment.recipes.config import AnyRecipe


def recipe_of(kind: str, output: Path, config: str = "", **changes: Any) -> Any:
    """The pocket config of a recipe, or a named one, with other parameters."""
    text = Path(f"configs/pocket/{config or kind}.yaml").read_text(encoding="utf-8")
    parameters = yaml.safe_load(text)["parameters"] | changes | {"kind": kind, "output": str(output)}
    return TypeAdapter(AnyRecipe).validate_python(parameters)
