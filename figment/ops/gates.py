"""A gate: tables pass their suites or the pipeline stops with the rows named. Either way a page says what was looked at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from figment.files import write_json, write_text
from figment.ops import tracking
from figment.ops.artifacts import show_page
from figment.ops.expectations import Suite
from figment.ops.quality import DataQualityError, Finding, examine
from figment.reading import read_artifact

KEPT = 10  # parts of a table, in the Data Docs
TEMPLATE = Path(__file__).parent / "gate.html.j2"


@dataclass(frozen=True)
class Check:
    """A table, the suite it has to pass, and the column that names its rows."""

    table: pd.DataFrame
    suite: Suite
    id_column: str = "image_id"


def gate(name: str, checks: Iterable[Check], output: Path, remedies: Mapping[str, str] | None = None) -> None:
    """Write ``output``/gates/NAME.json and .html, log the page to MLflow, and raise DataQualityError if a check failed.

    Several checks of one suite are parts of a table that is larger than memory. ``remedies``: what the error says to do, by the
    column that failed.
    """
    findings: list[Finding] = []
    for number, check in enumerate(checks):
        run = output.name if number < KEPT else None
        findings = merge(findings, examine(check.table, name, check.suite, check.id_column, run))
    page = _page(name, output)
    write_json(page.with_suffix(".json"), {"gate": name, "findings": [asdict(f) for f in findings]})
    write_text(page, html := render(name, findings))
    tracking.log_file(page, "gates")
    show_page(f"gate {name}", html)
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        others = f" ({len(failed) - 1} more failed: {page})" if len(failed) > 1 else f" ({page})"
        do = "".join(f"; {(remedies or {})[column]}" for column in failed[0].columns if column in (remedies or {}))
        raise DataQualityError(f"quality gate {name!r}: {failed[0].sentence}{do}{others}")


def expectations_held(names: Sequence[str], output: Path) -> dict[str, int]:
    """How many expectations each of these gates of a run held, of those that it has."""
    files = {name: _page(name, output).with_suffix(".json") for name in names}
    found = {name: file for name, file in files.items() if file.is_file()}
    return {name: len(read_artifact(file, dict[str, Any]).get("findings", [])) for name, file in found.items()}


def _page(name: str, output: Path) -> Path:
    return output / "gates" / f"{name.replace(' ', '_')}.html"


def merge(first: Sequence[Finding], second: Sequence[Finding]) -> list[Finding]:
    """Findings of two parts of a table together: the same expectation counts once, failed if either part failed."""

    def key(finding: Finding) -> tuple:
        return finding.expectation, finding.columns, repr(finding.settings)

    merged = {key(finding): finding for finding in first}
    for finding in second:
        if before := merged.get(key(finding)):
            finding = replace(
                finding,
                passed=before.passed and finding.passed,
                rows=before.rows + finding.rows,
                unexpected=before.unexpected + finding.unexpected,
                examples=before.examples or finding.examples,
            )
        merged[key(finding)] = finding
    return list(merged.values())


def render(name: str, findings: Sequence[Finding]) -> str:
    """A self-contained page; every value of a table is escaped."""
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE.name).render(name=name, findings=findings)
