"""The prompt book of the bag of tricks."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq

from figment.files import atomic
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops.steps import step
from figment.prompts.tricks import Wording, build_tricks
from figment.prompts.tricks import write_prompts as write


@step
def write_prompts(
    labels: LabelSpace,
    tricks: list[str],
    domains: list[str] | None,
    wording: Wording,
    guidance_scale: float,
    output: str,
) -> Annotated[FileRef, "prompts"]:
    """One row a prompt: text, labels, trick, domain, source."""
    prompts = write(labels, build_tricks(tricks, domains, guidance_scale, wording))
    path = Path(output) / "prompts.parquet"
    with atomic(path) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(prompt) for prompt in prompts]), partial)
    return FileRef.of(path)
