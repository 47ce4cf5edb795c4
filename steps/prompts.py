"""The prompt book: of grammars, of a chat model, of a file, or of several of these."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from figment.files import atomic
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.prompts.chat import ANSWERS
from figment.prompts.contexts import contexts_of, write_contexts
from figment.prompts.kinds import CONTEXTS, write_book
from figment.prompts.pair_book import describe
from figment.recipes.config import AnyRecipe


@step(role="write", experiment_tracker=True)
def write_prompts(recipe: AnyRecipe, labels: LabelSpace) -> Annotated[FileRef, "prompts"]:
    """prompts.parquet: text, labels, trick, domain, source; of contexts also contexts.csv, which may be edited and given back. A
    chat model's raw answers lie in answers/, so that a question is paid for once."""
    output, planning = Path(recipe.output), recipe.planning
    book = write_book(planning.prompts, labels, planning.generator.guidance_scale, output / ANSWERS)
    with atomic(output / "prompts.parquet") as partial:
        pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in book.prompts]), partial)
    if contexts := contexts_of(labels, [prompt for prompt in book.prompts if prompt.trick == CONTEXTS]):
        write_contexts(contexts, labels, output / "contexts.csv")
        tracking.log_file(output / "contexts.csv")
    tracking.log_metrics("prompts", describe(book))
    return FileRef.of(output / "prompts.parquet")
