"""The images of every split, drawn or decoded once."""

from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from figment.datasets.tagged import NAMES
from figment.datasets.zero_shot import ZeroShotConfig, write_splits
from figment.files import sha256_file, write_json
from figment.labels import LabelSpace
from figment.manifests import FileRef
from figment.ops import caching
from figment.ops.steps import step
from figment.synthesis.pool import Pool
from figment.training.zero_shot import made_images
from figment.validation.verdicts import shown_labels


@step(experiment_tracker=True)
def prepare_images(
    labels: LabelSpace,
    data: ZeroShotConfig,
    image_size: int,
    output: str,
    images: FileRef | None = None,
    verdicts: FileRef | None = None,
) -> Annotated[FileRef, "splits"]:
    """train, validation, zsl and gzsl below ``output``/splits, and splits.json with the number of images and the hashes of
    each. With ``images``, those that passed are trained on too, as what CLIP saw in them: below ``output``/splits_with_made."""
    path = Path(output) / ("splits_with_made" if images else "splits") / "splits.json"
    key = caching.result_key(
        __name__,
        labels=labels.model_dump(mode="json"),
        data=[data.model_dump(mode="json"), *(caching.data_digest(path, "all") for path in data.paths)],
        image_size=image_size,
        made=[images.sha256, verdicts.sha256] if images and verdicts else [],
    )
    if not caching.is_current(path, key):
        made = None
        if images and verdicts:
            shown = shown_labels(pq.read_table(verdicts.open()))
            made = made_images(shown, Pool(images.open().parent), labels, image_size)
        counts = write_splits(data, labels, image_size, path.parent, made)
        files = [f"{name}/{file}" for name in counts for file in NAMES]
        content = {file: sha256_file(path.parent / file) for file in files}
        write_json(path, {"images": counts, "made": len(made) if made else 0, "sha256": content})
        caching.mark_current(path, key)
    return FileRef.of(path)
