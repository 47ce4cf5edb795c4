"""A prompt book for every pair of unseen classes and every one by itself."""

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
from figment.prompts.pair_book import PairPromptConfig, describe, write_pair_prompts


@step(experiment_tracker=True)
def ask_prompts(unseen: LabelSpace, prompts: PairPromptConfig, output: str) -> Annotated[FileRef, "prompts"]:
    """prompts.parquet: text, labels, source. Raw answers lie in ``output``/answers, so a question is paid for once."""
    path = Path(output) / "prompts.parquet"
    book = write_pair_prompts(unseen, prompts, Path(output) / ANSWERS)
    with atomic(path) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in book.prompts]), partial)
    tracking.log_metrics("prompts", describe(book))
    return FileRef.of(path)
