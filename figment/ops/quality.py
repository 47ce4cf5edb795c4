"""Great Expectations gates: a table passes its suite or the pipeline stops with the rows named."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.data_context.types.base import ProgressBarsConfig

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.validation.verdicts import REASONS

ROWS_NAMED = 5


class DataQualityError(InputError):
    """A gate failed; the message names the expectation, the column and the first failing rows."""


def plan_suite(labels: LabelSpace) -> list[Any]:
    return [
        gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="prompt"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="prompt", min_value=1, max_value=1000),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(labels.names)),
        gxe.ExpectColumnValuesToBeBetween(column="guidance_scale", min_value=0, max_value=50),
        gxe.ExpectColumnValuesToBeBetween(column="num_inference_steps", min_value=1, max_value=1000),
    ]


def verdict_suite(labels: LabelSpace, images: int) -> list[Any]:
    return [
        gxe.ExpectTableRowCountToEqual(value=images),
        gxe.ExpectColumnValuesToBeUnique(column="image_id"),
        gxe.ExpectColumnValuesToBeBetween(column="probability", min_value=0, max_value=1),
        gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=list(REASONS)),
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(labels.names)),
        gxe.ExpectColumnValuesToBeInSet(column="predicted", value_set=list(labels.names)),
    ]


def check(table: pd.DataFrame, name: str, suite: Sequence[Any], id_column: str = "image_id") -> dict[str, Any]:
    """Validate ``table``; return a summary for the report, or raise DataQualityError naming the failing rows."""
    for logger in [n for n in logging.root.manager.loggerDict if n.startswith("great_expectations")]:
        logging.getLogger(logger).setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": table})
    )
    expectations = context.suites.add(gx.ExpectationSuite(name=name, expectations=[copy.copy(e) for e in suite]))
    outcome = batch.validate(expectations, result_format={"result_format": "COMPLETE"})
    results = [describe(result) for result in outcome.results]
    if not outcome.success:
        failed = next(result for result in outcome.results if not result.success)
        raise DataQualityError(f"quality gate {name!r}: {explain(failed, table, id_column)}")
    return {"suite": name, "rows": len(table), "expectations": results}


def describe(result: Any) -> dict[str, Any]:
    settings = result.expectation_config
    return {"expectation": settings.type, "column": settings.kwargs.get("column", ""), "passed": bool(result.success)}


def explain(result: Any, table: pd.DataFrame, id_column: str) -> str:
    """One sentence: what was expected of which column, and which rows have what instead."""
    what = describe(result)
    indices = (result.result or {}).get("unexpected_index_list") or []
    rows = [f"{table[id_column].iloc[i]!s:.12} has {table[what['column']].iloc[i]!r}" for i in indices[:ROWS_NAMED]]
    found = "; ".join(rows) or f"observed {(result.result or {}).get('observed_value', 'an error')!r}"
    more = f" and {len(indices) - ROWS_NAMED} more rows" if len(indices) > ROWS_NAMED else ""
    return f"{what['expectation']} failed for {what['column'] or 'the table'}: {found}{more}"
