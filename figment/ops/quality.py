"""What a plan, verdicts, a training list and the test images have to hold to, and what is found of them."""

import logging
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core.run_identifier import RunIdentifier

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.expectations import Suite, keep_result, open_context
from figment.validation.config import GateConfig
from figment.validation.verdicts import BLANK, REASONS

ROWS_NAMED = 5
LIBRARY = gx.__name__


class DataQualityError(InputError):
    """A gate failed; the message names the expectation, the column and the first failing rows."""


@dataclass(frozen=True)
class Finding:
    """How a table did by one expectation: ``rows`` looked at, ``unexpected`` of them, the first of these in ``examples``."""

    expectation: str
    columns: tuple[str, ...]
    settings: dict[str, Any]
    passed: bool
    rows: int
    unexpected: int
    observed: str
    examples: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was expected of which column, and which rows have what instead."""
        found = "; ".join(self.examples) or f"observed {self.observed or 'an error'}"
        more = f" and {self.unexpected - len(self.examples)} more rows" if self.unexpected > len(self.examples) else ""
        return f"{self.expectation} failed for {' and '.join(self.columns) or 'the table'}: {found}{more}"


def plan_suite(labels: LabelSpace) -> Suite:
    return Suite("plan", {"labels": list(labels.names)})


def verdict_suite(labels: LabelSpace, images: int) -> Suite:
    """One verdict an image, and the reasons sum up: each has one of them, and those accepted have ``accepted``."""
    verdicts = [(reason == "accepted", reason) for reason in REASONS]
    known = {"labels": list(labels.names), "reasons": list(REASONS), "verdicts": verdicts}
    return Suite("verdicts", {"images": images, **known})


def class_suite(config: GateConfig) -> Suite:
    """Of a ``class_table``: no class without images, none above its share."""
    return Suite("classes", {"min_per_class": config.min_per_class})


def image_suite(labels: LabelSpace, duplicates: float, leakage: float, blank: float = 0.0) -> Suite:
    """Of a ``training_table``: nothing (or that little) blank, nothing flagged, few duplicates, no (or that little) leakage from
    the test split."""
    shares = {"not_blank": 1 - blank, "not_duplicate": 1 - duplicates, "not_leaked": 1 - leakage}
    return Suite("images", {"labels": list(labels.names), "min_contrast": BLANK, **shares})


def check(table: pd.DataFrame, name: str, suite: Suite, id_column: str = "image_id") -> list[Finding]:
    """Validate ``table``; return what was found, or raise DataQualityError naming the failing rows."""
    findings = examine(table, name, suite, id_column)
    for finding in findings:
        if not finding.passed:
            raise DataQualityError(f"quality gate {name!r}: {finding.sentence}")
    return findings


def examine(
    table: pd.DataFrame, name: str, suite: Suite, id_column: str = "image_id", run: str | None = None
) -> list[Finding]:
    """What is found of ``table`` by each expectation, in the suite's order; with ``run`` it is kept for the Data Docs, too."""
    _quieten()
    table, context = table.reset_index(drop=True), open_context()
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    expectations = [configuration.to_domain_obj() for configuration in suite.expectations()]
    definition = gx.ValidationDefinition(
        name=name,
        data=asset.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=expectations)),
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=name,
            validation_definitions=[context.validation_definitions.add(definition)],
            result_format={"result_format": "COMPLETE"},
        )
    )
    run_id = RunIdentifier(run_name=run)
    [result] = checkpoint.run({"dataframe": table}, dict(suite.parameters), run_id).run_results.values()
    if run is not None:
        keep_result(result, suite.name, name, run_id)
    order = [expectation.id for expectation in definition.suite.expectations]
    found = sorted(result.to_json_dict()["results"], key=lambda each: order.index(each["expectation_config"]["id"]))
    return [describe(each, table, id_column) for each in found]


def _quieten() -> None:
    """Great Expectations says errors alone. Each level that is set empties the caches of all loggers, so few are set."""
    logging.getLogger(LIBRARY).setLevel(logging.ERROR)
    own = [name for name in logging.root.manager.loggerDict if name.startswith(f"{LIBRARY}.")]
    for logger in map(logging.getLogger, own):
        if logger.level not in (logging.ERROR, logging.NOTSET):
            logger.setLevel(logging.ERROR)


def describe(result: dict[str, Any], table: pd.DataFrame, id_column: str) -> Finding:
    """One result of Great Expectations; a column that is not there, or another error of its own, is a failure too."""
    settings = {k: v for k, v in result["expectation_config"]["kwargs"].items() if k != "batch_id"}
    columns = tuple(settings.pop(name) for name in ("column", "column_A", "column_B") if name in settings)
    found = result["result"]
    indices = found.get("unexpected_index_list") or []
    examples = tuple(
        f"{_short(row[id_column])} has {' and '.join(repr(row[column]) for column in columns)}"
        for row in table.iloc[indices[:ROWS_NAMED]].to_dict("records")
    )
    return Finding(
        expectation=result["expectation_config"]["type"],
        columns=columns,
        settings=settings,
        passed=bool(result["success"]),
        rows=int(found.get("element_count") or len(table)),
        unexpected=int(found.get("unexpected_count") or 0),
        observed=str(found.get("observed_value") or ""),
        examples=examples,
    )


def _short(name: object) -> str:
    """The first digits of a hash, any other name whole."""
    return str(name)[:12] if len(str(name)) == 64 else str(name)
