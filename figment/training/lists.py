"""A training set is a list: sorted image ids with labels and weights. The pool it points into never changes."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from figment.datasets.labelled import LabelledImages
from figment.errors import InputError
from figment.images import decode, to_tensor
from figment.labels import LabelSpace
from figment.synthesis.pool import Pool


def training_list(verdicts: pa.Table, tricks: Collection[str]) -> pa.Table:
    """``image_id, label, weight`` of the accepted images of these tricks, sorted by id. Weight 1: all count the same."""
    keep = pc.and_(verdicts["accepted"], pc.is_in(verdicts["trick"], pa.array(sorted(tricks), pa.string())))
    chosen = verdicts.filter(keep).select(["image_id", "label"]).sort_by("image_id")
    return chosen.append_column("weight", pa.array(np.ones(len(chosen)), pa.float64()))


def read_training_list(chosen: pa.Table, pool: Pool, space: LabelSpace, size: int, what: str) -> LabelledImages:
    """The listed images, in the list's order. Raises InputError if a class has none: no classifier can learn it."""
    by_id = dict(zip(chosen["image_id"].to_pylist(), chosen["label"].to_pylist(), strict=True))
    absent = [name for name in space.names if name not in set(by_id.values())]
    if absent:
        raise InputError(
            f"training set {what}: no accepted picture of {', '.join(absent)}; "
            "look at the rejected ones in the report, then change the prompt, the generator or validation.min_probability"
        )
    pictures = {}
    for batch in pool.read(by_id, ["image_id", "image"]):
        for row in batch.to_pylist():
            pictures[row["image_id"]] = to_tensor(decode(row["image"]["bytes"], row["image"]["path"]), size)
    labels = torch.tensor([space.names.index(label) for label in by_id.values()])
    return LabelledImages(torch.stack([pictures[i] for i in by_id]), labels)
