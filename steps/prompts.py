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
from figment.planning.planners import Planning
from figment.prompts.chat import ANSWERS
from figment.prompts.kinds import write_book
from figment.prompts.pair_book import describe


@step(role="write", experiment_tracker=True)
def write_prompts(labels: LabelSpace, planning: Planning, output: str) -> Annotated[FileRef, "prompts"]:
    """prompts.parquet: text, labels, trick, domain, source. A chat model's raw answers lie in answers/, so that a question is
    paid for once."""
    path = Path(output) / "prompts.parquet"
    book = write_book(planning.prompts, labels, planning.generator.guidance_scale, Path(output) / ANSWERS)
    with atomic(path) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in book.prompts]), partial)
    tracking.log_metrics("prompts", describe(book))
    return FileRef.of(path)
