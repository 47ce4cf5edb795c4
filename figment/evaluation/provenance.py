"""Where an image came from, what it went into, and what a model was made of: read from the files that a run leaves behind."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from figment.errors import InputError
from figment.files import sha256_file
from figment.planning.adapters import short_adapter
from figment.planning.lookup import ARTIFACTS
from figment.planning.plan import completed
from figment.prompts.chat import KeptAnswer
from figment.reading import read_artifact
from figment.training.lists import TRAINING_LIST
from figment.training.saved import WEIGHTS


@dataclass(frozen=True)
class Answer:
    """What a chat model was asked and said."""

    model: str
    question: str
    text: str
    file: Path


@dataclass(frozen=True)
class Recipe:
    """What a training list is made of. Counts are of its images."""

    images: int
    by_class: Mapping[str, int]
    by_trick: Mapping[str, int]
    generators: Mapping[str, int]  # model @ revision, and the adapter if there is one
    settings: Mapping[str, str]  # scheduler, steps, guidance, size
    prompts: int  # different ones
    judged: Mapping[str, int]  # verdicts of the whole run, by reason


def answer_behind(row: Mapping[str, Any], output: Path) -> Answer | str:
    """What the chat model said from which a planned row's prompt was read, or the source that the prompt book names."""
    book = output / "prompts.parquet"
    prompts = pq.read_table(book).to_pylist() if book.is_file() else []
    asked = {"text": row["prompt"], "trick": row["trick"], "labels": list(row["labels"])}
    source = next((str(p["source"]) for p in prompts if asked.items() <= p.items()), "no prompt book says")
    file = next(iter(sorted(output.glob(f"**/{source}.json"))), None) if source.isalnum() else None
    if file is None:
        return source
    kept = read_artifact(file, KeptAnswer)
    return Answer(kept.question.model, kept.question.text, kept.answer, file)


def verdicts_on(image_id: str, output: Path) -> dict[Path, dict[str, Any]]:
    """What was said of an image, by the file that says it."""
    files = sorted(output.glob("verdicts*.parquet"))
    found = {file: pq.read_table(file, filters=[("image_id", "==", image_id)]).to_pylist() for file in files}
    return {file: rows[0] for file, rows in found.items() if rows}


def learners(image_id: str, root: Path = ARTIFACTS) -> list[Path]:
    """The folders of the models under ``root`` that learned from an image."""
    lists = sorted(root.glob(f"**/{TRAINING_LIST}"))
    return [
        file.parent
        for file in lists
        if len(pq.read_table(file, columns=["image_id"], filters=[("image_id", "==", image_id)]))
    ]


def weights_in(folder: Path) -> Path:
    """The weights of a model's folder. Raises InputError if it holds none."""
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder}: holds no {WEIGHTS}; give the folder of a trained model")
    return folder / WEIGHTS


def find_weights(sha256: str, folder: str | None = None, root: Path = ARTIFACTS) -> Path | None:
    """The weights with this content in ``folder`` or else anywhere under ``root``, if they are still there."""
    files = [*([Path(folder) / WEIGHTS] if folder else ()), *sorted(root.glob(f"**/{WEIGHTS}"))]
    return next((file for file in files if file.is_file() and sha256_file(file) == sha256), None)


def output_of(folder: Path) -> Path:
    """The output folder of the run that a model's folder lies in: the nearest above it with a plan."""
    above = (parent for parent in folder.parents if list(parent.glob("plan*.parquet")))
    return next(above, folder.parent)


def recipe_of(folder: Path) -> Recipe | None:
    """What the model in ``folder`` learned from; None if it has no list of generated images."""
    file = next(iter(sorted(folder.glob(TRAINING_LIST))), None)
    if file is None:
        return None
    output, chosen = output_of(folder), pq.read_table(file)
    rows = _planned(chosen, output)
    generators = _count(
        f"{model} @ {revision}" + (f" with adapter {short_adapter(adapter)}" if adapter else "")
        for model, revision, adapter in zip(
            *(rows[name].to_pylist() for name in ("model", "revision", "adapter")), strict=True
        )
    )
    verdicts = output / "verdicts.parquet"
    judged = pq.read_table(verdicts, columns=["reason"])["reason"].to_pylist() if verdicts.is_file() else []
    return Recipe(
        images=len(chosen),
        by_class=_count(label for labels in rows["labels"].to_pylist() for label in labels),
        by_trick=_count(rows["trick"].to_pylist()),
        generators=generators,
        settings={
            "scheduler": span(rows["scheduler"]),
            "steps": span(rows["num_inference_steps"]),
            "guidance": span(rows["guidance_scale"]),
            "size": " x ".join(span(rows[name]) for name in ("width", "height")) + " px",
        },
        prompts=len(rows["prompt"].unique()),
        judged=_count(judged),
    )


def _planned(chosen: pa.Table, output: Path) -> pa.Table:
    """The plans' rows of the images of a list."""
    plans = [completed(pq.read_table(path)) for path in sorted(output.glob("plan*.parquet"))]
    rows = pa.concat_tables(plans).filter(
        pc.is_in(pa.concat_tables(plans)["image_id"], chosen["image_id"].combine_chunks())
    )
    ids = rows["image_id"].to_pylist()
    first = {image_id: row for row, image_id in reversed(list(enumerate(ids)))}  # a topped-up plan repeats the first
    return rows.take(sorted(first.values()))


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def span(values: pa.ChunkedArray) -> str:
    """``12`` or ``1 to 5``, of numbers; of words, all there are."""
    if pa.types.is_string(values.type):
        return ", ".join(sorted(values.unique().to_pylist()))
    low, high = pc.min_max(values).as_py().values()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
