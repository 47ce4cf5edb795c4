"""Classify or tag images with a trained model."""

from pathlib import Path
from typing import Annotated

from figment.errors import InputError
from figment.evaluation.prediction import predict_files
from figment.files import atomic
from figment.image_files import UnreadImages, find_files
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step


@step(role="look", experiment_tracker=True)
def predict_images(
    model: str,
    images: list[str],
    tags: str | None,
    top_k: int | None,
    batch_size: int,
    rendered: bool,
    device: str,
    output: str,
) -> Annotated[FileRef, "predictions"]:
    """``output``/predictions.jsonl, a line a class (image, label, probability) or a tag (image, tag, score, unseen, row).
    With ``rendered``, each image with its lines beside in ``output``/rendered. Images that cannot be read have lines that
    say so, and stop the pipeline once the file is written."""
    path, count = Path(output) / "predictions.jsonl", 0
    shown, only = Path(output) / "rendered" if rendered else None, Path(tags) if tags else None
    files = find_files([Path(image) for image in images])
    with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        unread = None
        try:
            for line in predict_files(Path(model), files, only, top_k, batch_size, shown, device):
                file.write(line + "\n")
                count += 1
        except UnreadImages as error:
            unread = error
    tracking.log_metrics("prediction", {"lines": count})
    tracking.log_file(path)
    if unread:
        raise InputError(f"{unread}; what is said of the others is in {path}") from unread
    return FileRef.of(path)
