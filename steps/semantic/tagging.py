"""Tag pictures with a trained semantic matrix."""

from pathlib import Path
from typing import Annotated

from zenml import step

from figment.files import atomic
from figment.label_vectors import read_names
from figment.manifests import FileRef
from figment.ops import tracking
from figment.pictures import find_files
from figment.tagging import load_tagger, tag_files


@step(experiment_tracker=True)
def tag_pictures(
    model: str,
    pictures: list[str],
    tags: str | None,
    top_k: int,
    batch_size: int,
    rendered: bool,
    device: str,
    output: str,
) -> Annotated[FileRef, "tags"]:
    """``output``/tags.jsonl, a line a tag: image, tag, score, unseen, row. With ``rendered``, each picture with its tags
    beside in ``output``/rendered."""
    tagger = load_tagger(Path(model), device)
    if tags:
        tagger = tagger.choose(read_names(Path(tags)), tags)
    path, count = Path(output) / "tags.jsonl", 0
    shown = Path(output) / "rendered" if rendered else None
    files = find_files([Path(picture) for picture in pictures])
    with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for line in tag_files(tagger, files, top_k, batch_size, shown):
            file.write(line + "\n")
            count += 1
    tracking.log_metrics("tagging", {"tags": count})
    tracking.log_file(path)
    return FileRef.of(path)
