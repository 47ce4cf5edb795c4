"""Where, when and how each class is seen: asked of a chat model, or read from a CSV."""

from pathlib import Path
from typing import Annotated

from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.ops.steps import step
from figment.prompts.chat import ANSWERS
from figment.prompts.contexts import ContextConfig, make_contexts
from figment.prompts.contexts import write_contexts as write


@step(role="write", experiment_tracker=True)
def write_contexts(labels: LabelSpace, contexts: ContextConfig, output: str) -> Annotated[FileRef, "contexts"]:
    """contexts.csv, which may be edited and given back as ``contexts.file``. The raw answers stay in answers/."""
    path = Path(output) / "contexts.csv"
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        contexts=contexts.model_dump(mode="json"),
        model=caching.model_digest(contexts.chat.model if contexts.chat else ""),
        file=caching.file_digest(contexts.file),
    )
    if not caching.is_current(path, key):
        found = make_contexts(labels, contexts, Path(output) / ANSWERS)
        write(found, labels, path)
        caching.mark_current(path, key)
        tracking.log_metrics("prompts", {"contexts": sum(map(len, found.values()))})
    tracking.log_file(path)
    return FileRef.of(path)
