"""The report of each recipe, by its kind."""

from collections.abc import Callable, Mapping
from typing import Any

from figment.evaluation.report import Report
from figment.recipes import bag_of_tricks, custom, few_shot, semantic_diversity, tailored
from figment.recipes.made import Made

REPORTS: Mapping[str, Callable[[Any, Made], Report]] = {
    "bag_of_tricks": bag_of_tricks.report,
    "custom": custom.report,
    "few_shot": few_shot.report,
    "semantic_diversity": semantic_diversity.report,
    "tailored": tailored.report,
}
