"""Classify or tag pictures with a trained model."""

from pathlib import Path
from typing import Annotated

from figment.errors import InputError
from figment.evaluation.prediction import predict_files
from figment.files import atomic
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.pictures import UnreadPictures, find_files


@step(role="look", experiment_tracker=True)
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
    With ``rendered``, each image with its lines beside in ``output``/rendered. Pictures that cannot be read have lines that
    say so, and stop the pipeline once the file is written."""
    path, count = Path(output) / "predictions.jsonl", 0
    shown, only = Path(output) / "rendered" if rendered else None, Path(tags) if tags else None
    files = find_files([Path(picture) for picture in pictures])
    with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        unread = None
        try:
            for line in predict_files(Path(model), files, only, top_k, batch_size, shown, device):
                file.write(line + "\n")
                count += 1
        except UnreadPictures as error:
            unread = error
    tracking.log_metrics("prediction", {"lines": count})
    tracking.log_file(path)
    if unread:
        raise InputError(f"{unread}; what is said of the others is in {path}") from unread
    return FileRef.of(path)
