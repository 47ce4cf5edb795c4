"""Classify or tag images with a trained model."""

from pathlib import Path
from typing import Annotated

from figment.errors import InputError
from figment.evaluation.prediction import Asked, predict_files
from figment.files import atomic
from figment.image_files import UnreadImages, find_files
from figment.manifests import FileRef
from figment.ops import tracking
from figment.ops.steps import step
from figment.recipes.config import Prediction


@step(role="look", experiment_tracker=True)
def predict_images(config: Prediction) -> Annotated[FileRef, "predictions"]:
    """``output``/predictions.jsonl, a line a class (image, label, probability) or a tag (image, tag, score, unseen, row).
    With ``rendered``, each image with its lines beside in ``output``/rendered. Images that cannot be read have lines that
    say so, and stop the pipeline once the file is written."""
    output, count = Path(config.output), 0
    path = output / "predictions.jsonl"
    asked = Asked(
        tags=Path(config.tags) if config.tags else None,
        top_k=config.top_k,
        batch_size=config.batch_size,
        rendered=output / "rendered" if config.rendered else None,
        device=config.device,
    )
    files = find_files([Path(image) for image in config.images])
    with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        unread = None
        try:
            for line in predict_files(Path(config.model), files, asked):
                file.write(line + "\n")
                count += 1
        except UnreadImages as error:
            unread = error
    tracking.log_metrics("prediction", {"lines": count})
    tracking.log_file(path)
    if unread:
        raise InputError(f"{unread}; what is said of the others is in {path}") from unread
    return FileRef.of(path)
