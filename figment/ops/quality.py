"""Great Expectations suites: what a plan, verdicts, a training list and the test images have to hold to."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.data_context.types.base import ProgressBarsConfig

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.validation.config import GateConfig
from figment.validation.verdicts import BLANK, REASONS

ROWS_NAMED = 5


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


def filled(*columns: str) -> list[Any]:
    """No empty value and no NaN, which all other expectations pass over."""
    return [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in columns]


def plan_suite(labels: LabelSpace) -> list[Any]:
    return [
        gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="prompt"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="prompt", min_value=1, max_value=1000),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(labels.names)),
        gxe.ExpectColumnValuesToBeBetween(column="guidance_scale", min_value=0, max_value=50),
        gxe.ExpectColumnValuesToBeBetween(column="num_inference_steps", min_value=1, max_value=1000),
        gxe.ExpectColumnValuesToBeBetween(column="width", min_value=8, max_value=8192),
        gxe.ExpectColumnValuesToBeBetween(column="height", min_value=8, max_value=8192),
        gxe.ExpectColumnValuesToBeBetween(column="strength", min_value=0, max_value=1, strict_min=True),
        *filled("image_id", "label", "guidance_scale", "strength"),
    ]


def verdict_suite(labels: LabelSpace, images: int) -> list[Any]:
    """One verdict an image, and the reasons sum up: each has one of them, and those accepted have ``accepted``."""
    return [
        gxe.ExpectTableRowCountToEqual(value=images),
        gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        gxe.ExpectColumnValuesToBeBetween(column="probability", min_value=0, max_value=1),
        gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=list(REASONS)),
        gxe.ExpectColumnPairValuesToBeInSet(
            column_A="accepted",
            column_B="reason",
            value_pairs_set=[(reason == "accepted", reason) for reason in REASONS],
        ),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(labels.names)),
        *filled("image_id", "accepted", "reason", "label"),
    ]


def weight_suite(labels: LabelSpace, images: int) -> list[Any]:
    return [
        gxe.ExpectTableRowCountToEqual(value=images),
        gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        gxe.ExpectColumnValuesToBeBetween(column="probability", min_value=0, max_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="weight", min_value=0, max_value=1),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(labels.names)),
        *filled("image_id", "probability", "weight", "label"),
    ]


def class_suite(config: GateConfig) -> list[Any]:
    """Of a ``class_table``: no class without images, none above its share."""
    return [
        gxe.ExpectColumnValuesToBeBetween(column="images", min_value=config.min_per_class),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="share", column_B="images", or_equal=True),
    ]


def image_suite(labels: LabelSpace, duplicates: float, leakage: float, blank: float = 0.0) -> list[Any]:
    """Of a ``training_table``: nothing (or that little) blank, nothing flagged, few duplicates, no (or that little) leakage from
    the test split."""
    return [
        gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(labels.names)),
        gxe.ExpectColumnValuesToBeBetween(column="contrast", min_value=BLANK, mostly=1 - blank),
        gxe.ExpectColumnValuesToBeInSet(column="unsafe", value_set=[False]),
        gxe.ExpectColumnValuesToBeNull(column="duplicate_of", mostly=1 - duplicates),
        gxe.ExpectColumnValuesToBeNull(column="test_twin", mostly=1 - leakage),
        *filled("image_id", "label", "contrast", "unsafe"),
    ]


def check(table: pd.DataFrame, name: str, suite: Sequence[Any], id_column: str = "image_id") -> list[Finding]:
    """Validate ``table``; return what was found, or raise DataQualityError naming the failing rows."""
    findings = examine(table, name, suite, id_column)
    for finding in findings:
        if not finding.passed:
            raise DataQualityError(f"quality gate {name!r}: {finding.sentence}")
    return findings


def examine(table: pd.DataFrame, name: str, suite: Sequence[Any], id_column: str = "image_id") -> list[Finding]:
    """What is found of ``table`` by each expectation, in the suite's order."""
    for logger in [n for n in logging.root.manager.loggerDict if n.startswith("great_expectations")]:
        logging.getLogger(logger).setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    table = table.reset_index(drop=True)
    batch = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": table})
    )
    expectations = context.suites.add(gx.ExpectationSuite(name=name, expectations=[copy.copy(e) for e in suite]))
    outcome = batch.validate(expectations, result_format={"result_format": "COMPLETE"}).to_json_dict()
    order = [expectation.id for expectation in expectations.expectations]
    results = sorted(outcome["results"], key=lambda result: order.index(result["expectation_config"]["id"]))
    return [describe(result, table, id_column) for result in results]


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
