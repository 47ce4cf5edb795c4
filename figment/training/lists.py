"""A training set is a list: sorted image ids with labels and weights. The pool it points into never changes."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from figment.columns import Wanted, id_array, numbered, sorted_by_id, turns
from figment.datasets.hub_parquet import RowGroup
from figment.datasets.labelled import StreamedImages
from figment.datasets.listing import Listing
from figment.errors import InputError
from figment.files import atomic, canonical_json
from figment.images import Resize
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool

TRAINING_LIST = "training_list.parquet"  # beside a model's weights
AT_ONCE = 16_384  # rows


def write_list(chosen: pa.Table, folder: Path) -> None:
    """Say beside a model what it learns from."""
    with atomic(folder / TRAINING_LIST) as partial:
        pq.write_table(chosen, partial)


def training_list(verdicts: pa.Table, tricks: Collection[str] | Mapping[str, int]) -> pa.Table:
    """``image_id, label, weight`` of the accepted images of these tricks, sorted by id, or of so many of each class in each
    trick: the first by id, which is chance. Weight 1: all count the same."""
    keep = pc.and_(verdicts["accepted"], pc.is_in(verdicts["trick"], pa.array(sorted(tricks), pa.string())))
    accepted = verdicts.select(["image_id", "trick", "labels"]).filter(keep)
    chosen = sorted_by_id(_with_label(accepted, "labels").select(["image_id", "trick", "label"]))
    if isinstance(tricks, Mapping):
        (trick, names), (label, labels) = (numbered(chosen[name]) for name in ("trick", "label"))
        most = np.array([tricks[name] for name in names], np.int64)
        chosen = chosen.filter(pa.array(turns(trick * len(labels) + label) < most[trick]))
    chosen = chosen.select(["image_id", "label"])
    return chosen.append_column("weight", pa.array(np.ones(len(chosen)), pa.float64()))


def list_digest(chosen: pa.Table) -> str:
    """``digest`` of the list's rows, which are not in memory at once."""
    hashed, before = hashlib.sha256(b"["), b""
    for batch in filter(len, chosen.to_batches(max_chunksize=AT_ONCE)):
        hashed.update(before + canonical_json(batch.to_pylist())[1:-1].encode())
        before = b","
    hashed.update(b"]")
    return hashed.hexdigest()


def multilabel_list(verdicts: pa.Table) -> pa.Table:
    """``image_id, label, labels, weight`` of the accepted images, sorted by id: what each is trained on as, the first of these
    by itself too."""
    chosen = _with_label(sorted_by_id(verdicts.filter(verdicts["accepted"])), "predicted")
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
    chosen = _each_once(chosen)
    (of_class, classes), numbers = numbered(chosen["label"]), {name: i for i, name in enumerate(space.names)}
    absent = [name for name in space.names if name not in classes]
    if absent:
        raise InputError(
            f"training set {what}: no accepted image of {', '.join(absent)}; "
            "look at the rejected ones in the report, then change the prompt, the generator or validation.min_probability"
        )
    chunks, places = _places(chosen["image_id"], pool)
    labels = torch.from_numpy(np.array([numbers[name] for name in classes], np.int64)[of_class])
    return StreamedImages(Listing(chunks, torch.from_numpy(places), labels), size, resize, native_size=native_size)


def _each_once(chosen: pa.Table) -> pa.Table:
    ids = id_array(chosen["image_id"])
    if (ids[:-1] < ids[1:]).all():
        return chosen
    return chosen.take(np.sort(np.unique(ids, return_index=True)[1]))


def _places(listed: pa.ChunkedArray, pool: Pool) -> tuple[list[RowGroup], np.ndarray]:
    """The row groups of a pool, and (N, 2) in which of them, and where, each listed image is."""
    chunks: list[RowGroup] = []
    ids = id_array(listed)
    wanted = Wanted(ids)
    order = ids.argsort(kind="stable") if wanted.ids is not ids else None
    places = np.full((len(ids), 2), -1)
    pool.bring(pool.shards)
    for name in sorted(pool.shards):
        with pq.ParquetFile(pool.folder / name) as file:
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            rows, found = wanted.places(file.read(columns=["image_id"])["image_id"])
        starts = np.cumsum([0, *groups])
        group = starts.searchsorted(rows, "right") - 1
        places[found if order is None else order[found]] = np.stack([len(chunks) + group, rows - starts[group]], 1)
        chunks += [RowGroup(pool.folder / name, n, int(starts[n]), "image", ()) for n in range(len(groups))]
    if (places < 0).any():
        lost = listed[int(places[:, 0].argmin())].as_py()
        raise InputError(f"{pool.folder}: it lacks image {lost:.12}, which is to be trained on; run again to render it")
    return chunks, places
