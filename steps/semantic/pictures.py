"""The pictures of every split, drawn or decoded once."""

from pathlib import Path
from typing import Annotated

from zenml import step

from figment.datasets.zero_shot import ZeroShotConfig, write_splits
from figment.files import write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching, tracking
from figment.planning.plan import read_plan
from figment.synthesis.pool import Pool
from figment.training.zero_shot import made_pictures


@step(experiment_tracker=True)
def prepare_pictures(
    labels: LabelSpace,
    data: ZeroShotConfig,
    image_size: int,
    output: str,
    plan: FileRef | None = None,
    images: FileRef | None = None,
) -> Annotated[FileRef, "splits"]:
    """train, validation, zsl and gzsl below ``output``/splits, and splits.json that says how many pictures each has. With
    ``images``, those of the ``plan`` are trained on too."""
    path = Path(output) / "splits" / "splits.json"
    key = caching.key_of(
        labels=labels.model_dump(mode="json"),
        data=[data.model_dump(mode="json"), caching.data_digest(Path(data.root), "all")],
        image_size=image_size,
        made=[plan.sha256, images.sha256] if plan and images else [],
    )
    if not caching.is_current(path, key):
        made = None
        if plan and images:
            ids = read_plan(plan.open())["image_id"].to_pylist()
            made = made_pictures(ids, Pool(images.open().parent), labels, image_size)
        counts = write_splits(data, labels, image_size, path.parent, made)
        write_json(path, {"pictures": counts, "made": len(made) if made else 0, "key": key})
        caching.mark_current(path, key)
    tracking.log_parameters("data", data.model_dump(mode="json"))
    return FileRef.of(path)
