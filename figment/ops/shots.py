"""Several numbers of shots in one config, ``shots: [1, 2, 4, 8]``: a run each in OUTPUT/shots_N, and a table of all.

A class's shots are the first of the larger numbers', so an image that two runs plan is the same; each run takes those that
another has made. Words and LoRAs are learned from a run's own shots alone.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from figment.errors import InputError
from figment.evaluation.verdict import SUMMARY, Summary
from figment.files import write_json, write_text
from figment.ops.checking import read_config
from figment.reading import read_artifact
from figment.text import shown
from figment.types import expanded

FIELD = "shots"
METRICS = "metrics.json"


def counts_of(parameters: Mapping[str, Any], where: str) -> list[int]:
    """The numbers of shots of a config that has a list of them, ascending; else none. Raises InputError for what is no list of
    different numbers."""
    found = parameters.get(FIELD)
    if not isinstance(found, list):
        return []
    if len(found) < 2 or not all(type(count) is int and count > 0 for count in found) or len({*found}) < len(found):
        raise InputError(
            f"{where}: parameters.{FIELD}: found {shown(found)}; give one number, or a list of two or more different ones above 0"
        )
    return sorted(found)


def folder_of(output: Path, count: int) -> Path:
    return output / f"{FIELD}_{count}"


def runs_of(config: Path) -> Iterator[Path]:
    """A config for each number of shots that ``config`` lists, beside the folder of its run; none if it lists none."""
    body = read_config(config)
    parameters = body.get("parameters") or {}
    done: list[str] = []
    for count in counts_of(parameters, str(config)):
        output = Path(expanded(parameters["output"]))
        folder, synthesis = folder_of(output, count), parameters.get("synthesis") or {}
        changed = {FIELD: count, "output": folder.as_posix()}
        changed["synthesis"] = {**synthesis, "reuse": [*synthesis.get("reuse", []), *done]}
        file = output / f"{folder.name}.yaml"
        write_text(
            file, yaml.safe_dump({**body, "parameters": {**parameters, **changed}}, sort_keys=False, allow_unicode=True)
        )
        yield file
        if (images := folder / "images").is_dir():  # once it has run
            done.append(images.as_posix())


def gather(config: Path) -> Path:
    """Write the table of all runs of ``config``: metrics.json and summary.json in its output folder, which is returned."""
    parameters = read_config(config)["parameters"]
    counts, output = counts_of(parameters, str(config)), Path(expanded(parameters["output"]))
    found = {count: read_artifact(folder_of(output, count) / METRICS, dict[str, float]) for count in counts}
    write_json(
        output / METRICS, {f"{n} shots/{name}": value for n, own in found.items() for name, value in own.items()}
    )
    names = list(dict.fromkeys(name for own in found.values() for name in own))
    last = read_artifact(folder_of(output, counts[-1]) / SUMMARY, Summary)
    summary = Summary(
        title=f"Few-shot: {', '.join(map(str, counts))} photos of each class",
        heading="macro accuracy in %",
        columns=("trained on / test set", *(f"{count} shots" for count in counts)),
        rows=tuple(
            (name, *(f"{100 * own[name]:.1f}" if name in own else "" for own in found.values())) for name in names
        ),
        verdict=last.verdict,
        report=last.report,
        model=last.model,
    )
    write_json(output / SUMMARY, summary.model_dump(mode="json"))
    return output
