"""Classify or tag pictures with a trained model."""

from pathlib import Path
from typing import Annotated

from figment.files import atomic
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.pictures import find_files
from figment.prediction import predict_files


@step(experiment_tracker=True)
def predict_pictures(
    model: str,
    pictures: list[str],
    tags: str | None,
    top_k: int | None,
    batch_size: int,
    rendered: bool,
    device: str,
    output: str,
) -> Annotated[FileRef, "predictions"]:
    """``output``/predictions.jsonl, a line a class (image, label, probability) or a tag (image, tag, score, unseen, row).
    With ``rendered``, each picture with its lines beside in ``output``/rendered."""
    path, count = Path(output) / "predictions.jsonl", 0
    shown, only = Path(output) / "rendered" if rendered else None, Path(tags) if tags else None
    files = find_files([Path(picture) for picture in pictures])
    with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for line in predict_files(Path(model), files, only, top_k, batch_size, shown, device):
            file.write(line + "\n")
            count += 1
    tracking.log_metrics("prediction", {"lines": count})
    tracking.log_file(path)
    return FileRef.of(path)
