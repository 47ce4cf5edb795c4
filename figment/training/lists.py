"""A training set is a list: sorted image ids with labels and weights. The pool it points into never changes."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from figment.datasets.hub_parquet import RowGroup
from figment.datasets.labelled import StreamedImages
from figment.datasets.listing import Listing
from figment.errors import InputError
from figment.files import atomic
from figment.images import Resize
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool

TRAINING_LIST = "training_list.parquet"  # beside a model's weights


def write_list(chosen: pa.Table, folder: Path) -> None:
    """Say beside a model what it learns from."""
    with atomic(folder / TRAINING_LIST) as partial:
        pq.write_table(chosen, partial)


def training_list(verdicts: pa.Table, tricks: Collection[str] | Mapping[str, int]) -> pa.Table:
    """``image_id, label, weight`` of the accepted images of these tricks, sorted by id, or of so many of each class in each
    trick: the first by id, which is chance. Weight 1: all count the same."""
    keep = pc.and_(verdicts["accepted"], pc.is_in(verdicts["trick"], pa.array(sorted(tricks), pa.string())))
    chosen = _with_label(verdicts.filter(keep).sort_by("image_id"), "labels")
    if isinstance(tricks, Mapping):
        table = chosen.select(["trick", "label"]).to_pandas()
        chosen = chosen.filter(pa.array(table.groupby(["trick", "label"]).cumcount() < table["trick"].map(tricks)))
    chosen = chosen.select(["image_id", "label"])
    return chosen.append_column("weight", pa.array(np.ones(len(chosen)), pa.float64()))


def multilabel_list(verdicts: pa.Table) -> pa.Table:
    """``image_id, label, labels, weight`` of the accepted images, sorted by id: what each is trained on as, the first of these
    by itself too."""
    chosen = _with_label(verdicts.filter(verdicts["accepted"]).sort_by("image_id"), "predicted")
    chosen = chosen.select(["image_id", "label", "predicted"]).rename_columns(["image_id", "label", "labels"])
    return chosen.append_column("weight", pa.array(np.ones(len(chosen)), pa.float64()))


def _with_label(verdicts: pa.Table, column: str) -> pa.Table:
    """With the first of the classes in ``column`` as ``label``."""
    return verdicts.append_column("label", pc.list_element(verdicts[column], 0))


def open_training_list(
    chosen: pa.Table,
    pool: Pool,
    space: LabelSpace,
    size: int,
    what: str,
    resize: Resize = "bilinear",
    native_size: int | None = None,
) -> StreamedImages:
    """The listed images at ``size`` px, larger ones by way of ``native_size``, in the list's order, not yet decoded.
    Raises InputError if a class has none: no classifier can learn it."""
    by_id = dict(zip(chosen["image_id"].to_pylist(), chosen["label"].to_pylist(), strict=True))
    shown, numbers = set(by_id.values()), {name: number for number, name in enumerate(space.names)}
    absent = [name for name in space.names if name not in shown]
    if absent:
        raise InputError(
            f"training set {what}: no accepted image of {', '.join(absent)}; "
            "look at the rejected ones in the report, then change the prompt, the generator or validation.min_probability"
        )
    chunks: list[RowGroup] = []
    places: dict[str, tuple[int, int]] = {}
    pool.bring(pool.shards)
    for name in sorted(pool.shards):
        file = pq.ParquetFile(pool.folder / name)
        first = 0
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["image_id"])["image_id"].to_pylist()
            places |= {image_id: (len(chunks), row) for row, image_id in enumerate(ids) if image_id in by_id}
            chunks.append(RowGroup(pool.folder / name, group, first, "image", ids))
            first += len(ids)
    labels = torch.tensor([numbers[label] for label in by_id.values()])
    listing = Listing(chunks, torch.tensor([places[i] for i in by_id]), labels)
    return StreamedImages(listing, size, resize, native_size=native_size)
