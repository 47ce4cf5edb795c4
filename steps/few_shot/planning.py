"""The images that all methods together want made, and which of them each method learns from."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from figment.adaptation.lora import LorasFile
from figment.adaptation.textual_inversion import WordsFile
from figment.files import atomic
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops.steps import step
from figment.planning.few_shot import Shot, plan_few_shot
from figment.planning.generator_config import GeneratorConfig
from figment.planning.methods import Method
from figment.planning.plan import write_plan
from figment.planning.words import Words
from figment.prompts.contexts import read_contexts
from figment.reading import read_artifact
from figment.synthesis.adapter_files import place_loras
from figment.synthesis.weights import model_revision
from steps.planning import check_plan


@step(experiment_tracker=True)
def plan_images(
    labels: LabelSpace,
    photos: FileRef,
    methods: dict[str, Method],
    generator: GeneratorConfig,
    seed: int,
    output: str,
    contexts: FileRef | None = None,
    words: FileRef | None = None,
    loras: FileRef | None = None,
) -> tuple[Annotated[FileRef, "plan"], Annotated[FileRef, "uses"]]:
    """plan.parquet, each image once; uses.parquet with a row for each use of one: method, photo (its number), id."""
    shots = [
        Shot(row["image"], labels.labels[labels.names.index(row["label"])])
        for row in pq.read_table(photos.open()).to_pylist()
    ]
    said = read_contexts(contexts.open(), labels) if contexts else {}
    learned = read_artifact(words.open(), WordsFile).words if words else Words()
    if loras:
        learned = replace(learned, loras=read_artifact(loras.open(), LorasFile).loras)
    revision = model_revision(generator)
    rows, used = [], []
    for name, method in methods.items():
        for number, shot in enumerate(shots):
            made = list(plan_few_shot([shot], method, said, learned, generator, revision, seed))
            rows += made
            used += [{"method": name, "photo": number, "image_id": row.image_id} for row in made]
    path = Path(output) / "plan.parquet"
    place_loras(generator, path.parent / "adapters")
    write_plan(rows, path)
    check_plan(path, labels)
    uses = Path(output) / "uses.parquet"
    with atomic(uses) as partial:
        pq.write_table(pa.Table.from_pylist(used), partial)
    return FileRef.of(path), FileRef.of(uses)
