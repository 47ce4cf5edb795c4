"""Great Expectations' suites, as files that a user edits, and its Data Docs of all gates.

``configs/expectations/NAME.json`` is a suite as Great Expectations writes it; where you work, one goes before the one that
Figment brings along. ``{"$PARAMETER": "labels"}`` stands for a value of the run.

``python -m figment.ops.expectations`` builds the Data Docs. A run only leaves its results for them: the pages would take longer
than the gates, load scripts from other hosts, and show each value as it is, which an untrusted prompt must not be. So results
are kept with their text escaped, and a run's own page of a gate (``figment.ops.gates``) needs nothing from elsewhere.
"""

import html
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.store import ValidationResultsStore
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from figment.errors import InputError
from figment.ops import state
from figment.ops.endings import ended
from figment.ops.environment import RESOURCES, load_environment
from figment.reading import mapping, read_json
from figment.text import one_line, shown

FOLDER = Path("configs/expectations")
SHOWN, LISTED = 20, 200  # values of an expectation, results on the first page
EXPECTED = "a suite as Great Expectations writes it, with 'expectations': [{'type': ..., 'kwargs': {...}}, ...]"
PARAMETERS = {  # by suite, what its file may name
    "plan": {"labels"},
    "verdicts": {"labels", "images", "reasons", "verdicts"},
    "classes": {"min_per_class"},
    "images": {"labels", "min_contrast", "not_blank", "not_duplicate", "not_leaked"},
}


@dataclass(frozen=True)
class Suite:
    """The name of a suite's file, and the values of its parameters."""

    name: str
    parameters: Mapping[str, Any]

    def expectations(self) -> list[ExpectationConfiguration]:
        return read_suites(Path.cwd())[self.name]


@cache
def read_suites(folder: Path) -> dict[str, list[ExpectationConfiguration]]:
    """All suites of a working directory at once: an error in one that is needed hours later is told now. Raises InputError."""
    found = {}
    for name in PARAMETERS:
        own = folder / FOLDER / f"{name}.json"
        found[name] = _read(own if own.is_file() else RESOURCES / FOLDER / own.name, PARAMETERS[name])
    return found


def _read(file: Path, known: set[str]) -> list[ExpectationConfiguration]:
    entries = mapping(read_json(file, EXPECTED), str(file), EXPECTED).get("expectations")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{file}: expectations: found {shown(entries)}; expected {EXPECTED}")
    return [_configured(entry, f"{file}: expectations[{i}]", known) for i, entry in enumerate(entries)]


def _configured(entry: Any, where: str, known: set[str]) -> ExpectationConfiguration:
    if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict):
        raise InputError(f"{where}: found {shown(entry)}; expected {EXPECTED}")
    for key, value in entry["kwargs"].items():
        if isinstance(value, dict) and "$PARAMETER" in value and str(value["$PARAMETER"]) not in known:
            raise InputError(
                f"{where}: {key}: no parameter {shown(value['$PARAMETER'])}; there are {', '.join(sorted(known))}"
            )
    try:
        configuration = ExpectationConfiguration(**entry)
        configuration.to_domain_obj()
    except (GreatExpectationsError, TypeError, ValueError) as error:
        problems = error.errors() if hasattr(error, "errors") else []
        said = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:1])
        said = said or str(error).removeprefix("ExpectationConfiguration.__init__() ")
        raise InputError(f"{where}: {shown(entry.get('type'))}: {one_line(said)}; expected {EXPECTED}") from error
    return configuration


def results_folder() -> Path:
    """Beside ZenML's database."""
    return state.zenml_folder().with_name("gates") / "results"


def open_context(results: Path | None = None) -> Any:
    """Great Expectations with all in memory, or with the results in a folder and Data Docs beside it."""
    memory = {"class_name": "InMemoryStoreBackend"}
    stores = {
        "suites": {"class_name": "ExpectationsStore", "store_backend": memory},
        "results": {"class_name": "ValidationResultsStore", "store_backend": _files(results) if results else memory},
        "checkpoints": {"class_name": "CheckpointStore", "store_backend": memory},
        "validation_definition_store": {"class_name": "ValidationDefinitionStore", "store_backend": memory},
    }
    index = {"class_name": "DefaultSiteIndexBuilder", "validation_results_limit": LISTED}
    site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "site_index_builder": index}
    config = DataContextConfig(
        expectations_store_name="suites",
        validation_results_store_name="results",
        checkpoint_store_name="checkpoints",
        progress_bars=ProgressBarsConfig(globally=False),
        stores=stores,
        data_docs_sites={"gates": {**site, "store_backend": _files(results.with_name("site"))}} if results else {},
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _files(folder: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}


def keep_result(result: ExpectationSuiteValidationResult, suite: str, gate: str, run: RunIdentifier) -> None:
    """Keep what a gate of a run found for the Data Docs, with text escaped and few of its values."""
    key = ValidationResultIdentifier(ExpectationSuiteIdentifier(suite), run, gate)
    kept = expectationSuiteValidationResultSchema.load(_escaped(result.to_json_dict()))
    ValidationResultsStore(store_backend=_files(results_folder())).set(key, kept)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value)
    if isinstance(value, dict):
        return {html.escape(str(key)): _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value[:SHOWN]] if isinstance(value, list) else value


def main() -> int:
    def build() -> None:
        load_environment()
        results = results_folder()
        if not results.is_dir():
            raise InputError(f"{results}: no gate has left a result yet; run a pipeline")
        context = open_context(results)
        for name, expectations in read_suites(Path.cwd()).items():
            context.suites.add(gx.ExpectationSuite(name=name, expectations=[e.to_domain_obj() for e in expectations]))
        context.build_data_docs()
        print(results.with_name("site") / "index.html")

    return ended(build)


if __name__ == "__main__":
    sys.exit(main())
