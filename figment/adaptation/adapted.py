"""What a planner plans with, read from the files that earlier stages wrote."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow.parquet as pq

from figment.adaptation.lora import LorasFile
from figment.adaptation.text_encoder import Tuned
from figment.adaptation.textual_inversion import WordsFile
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.planning.few_shot import Shot
from figment.planning.planners import Given, Planning
from figment.prompts.tricks import read_prompts
from figment.reading import read_artifact
from figment.synthesis.weights import model_revision

TUNING, WORDS, LORAS = "tuning.json", "words.json", "loras.json"


def given_of(
    space: LabelSpace,
    planning: Planning,
    prompts: FileRef | None = None,
    adapted: Sequence[FileRef] = (),
    photos: FileRef | None = None,
) -> Given:
    """Classes are those of ``space``; ``adapted`` are what the adaptations of the generator wrote."""
    by_name = {label.name: label for label in space.labels}
    shots = pq.read_table(photos.open()).to_pylist() if photos else []
    given = Given(
        space,
        read_prompts(prompts.open()) if prompts else [],
        model_revision(planning.generator),
        shots=[
            Shot(row["image"], by_name[row["label"]], row.get("object", ""), row.get("background", "")) for row in shots
        ],
    )
    for path in (file.open() for file in adapted):
        if path.name == TUNING:
            given = replace(given, adapter=read_artifact(path, Tuned).adapter)
        elif path.name == WORDS:
            words = read_artifact(path, WordsFile).words
            given = replace(given, words=replace(words, loras=given.words.loras))
        else:
            given = replace(given, words=replace(given.words, loras=read_artifact(path, LorasFile).loras))
    return given
