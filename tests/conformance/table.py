"""``python -m tests.conformance.table``: runs the suite and writes its outcome into docs/generators.md; with models' names, those
models' rows alone."""

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from figment.synthesis.families import FAMILIES, Family
from tests.conformance.models import CASES

DOCS = Path("docs/generators.md")
COLUMNS = {
    "equal_to_stock": "equal to stock",
    "batch_invariant": "batch-invariant",
    "guidance_acts": "guidance acts",
    "negative_acts": "negative acts",
    "image_to_image": "image to image",
    "part_of_an_image": "part of an image",
    "long_prompts": "long prompts",
    "lora": "LoRA",
    "replay": "replay",
    "bfloat16": "bfloat16",
}
NAMES = tuple(f"test_{name}" for name in COLUMNS)
MARKS = {"passed": "yes", "skipped": "no", "failed": "**FAILS**"}


class Outcomes:
    """A pytest plugin: the outcome of each test of each model."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = re.search(r"::test_(\w+)\[(.+)\]$", report.nodeid)
        if name and (report.when == "call" or report.outcome != "passed"):
            self.found[name[2], name[1]] = report.outcome


def conformance(found: dict[tuple[str, str], str], page: str) -> str:
    """Models by features; ``no`` is what a contract says a model cannot do, and what is refused in a sentence. Models that were
    not run keep their row of the page."""
    models = {title for title, _ in found}
    lines = [f"| model | {' | '.join(COLUMNS.values())} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for case in CASES:
        before = re.search(rf"^\| {re.escape(case.title)} \| (?!`).*$", page, re.MULTILINE)
        if case.title not in models and before:
            lines.append(before[0])
            continue
        cells = (MARKS[found.get((case.title, name), "failed")] for name in COLUMNS)
        lines.append(f"| {case.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def contracts() -> str:
    """Families by what their contract says."""
    lines = ["| family | class | guided above | negative prompts | initial image | tokens read |", "|---" * 6 + "|"]
    for family in FAMILIES:
        limits = ", ".join("of the tokenizer" if r.limit is None else str(r.limit) for r in family.readers)
        cells = [
            family.title,
            f"`{family.pipeline}`",
            guided(family),
            "yes" if family.negatives else "no",
            family.image,
            limits,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def guided(family: Family) -> str:
    return f"{family.guided_above:g}" if family.classifier_free else "read by the network"


def written(text: str, name: str, table: str) -> str:
    """The page with ``table`` between its marks."""
    begin, end = f"<!-- {name}: written by python -m tests.conformance.table -->", f"<!-- end of {name} -->"
    return re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def main(models: list[str]) -> int:
    outcomes, start = Outcomes(), time.perf_counter()
    paths = [f"tests/conformance/test_families.py::{name}[{model}]" for model in models for name in NAMES]
    options = ["-q", "-n0", "--durations=0", "--no-header"]
    code = pytest.main([*options, *(paths or ["tests/conformance/test_families.py"])], plugins=[outcomes])
    page = written(DOCS.read_text(encoding="utf-8"), "contracts", contracts())
    DOCS.write_text(written(page, "conformance", conformance(outcomes.found, page)), encoding="utf-8")
    print(f"{len(outcomes.found)} tests in {time.perf_counter() - start:.0f} s; written to {DOCS}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
