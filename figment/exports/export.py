"""``figment export RUN``: a run's images as a data set in one of five formats, with a data card."""

from pathlib import Path

from figment.errors import InputError
from figment.exports.card import data_card
from figment.exports.coco import write_coco
from figment.exports.folder import write_folder
from figment.exports.hf import write_hf
from figment.exports.run_images import RunImages, Summary
from figment.exports.samples import Exporter
from figment.exports.webdataset import write_webdataset
from figment.exports.yolo import write_yolo
from figment.files import atomic_folder

FORMATS: dict[str, Exporter] = {
    "folder": write_folder,
    "coco": write_coco,
    "hf": write_hf,
    "webdataset": write_webdataset,
    "yolo": write_yolo,
}
CARD = "README.md"


def export_run(run: Path, name: str, out: Path | None = None, everything: bool = False) -> str:
    """Write the accepted images of ``run``, or all with ``everything``, into ``out`` (by default beside the run) and return a
    sentence about them. The folder is whole or absent; an image is in memory at a time, but for the pool's shard and a row group.

    Raises InputError for an unknown format, a folder that is not empty, and as ``RunImages``.
    """
    if name not in FORMATS:
        raise InputError(f"--format {name!r}: is not known; take one of {', '.join(FORMATS)}")
    folder = out or run.resolve().with_name(f"{run.resolve().name}_{name}")
    with atomic_folder(folder) as partial:
        images, summary = RunImages(run, everything), Summary()
        FORMATS[name](images.samples(summary), partial, images.classes)
        command = f"figment export {run} --format {name}" + (" --all" if everything else "")
        card = data_card(images.classes, summary, name, command, everything)
        (partial / CARD).write_text(card, encoding="utf-8")
    return f"{folder}: {summary.images:,} images of {len(summary.by_class)} classes"
