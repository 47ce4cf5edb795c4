"""What the gates look at: one table a set, with each image's near-duplicate and its twin among the test images."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from figment.synthesis.pool import Pool
from figment.validation.duplicates import WORDS, first_alike, nearest_alike
from figment.validation.hashes import HashedSet, HashStore
from figment.validation.verdicts import BLANK


def training_table(chosen: pa.Table, pool: Pool, test: HashedSet, near: int) -> pd.DataFrame:
    """``image_id, label, contrast, unsafe, duplicate_of, test_twin`` of a training list, in its order."""
    ids = chosen["image_id"].to_pylist()
    columns = ["image_id", "contrast", "unsafe"]
    found = {row["image_id"]: row for batch in pool.read(ids, columns) for row in batch.to_pylist()}
    by_id = HashStore(pool).codes(ids)
    codes = np.stack([by_id[i] for i in ids]) if ids else np.zeros((0, WORDS), np.uint64)
    return pd.DataFrame(
        {
            "image_id": ids,
            "label": chosen["label"].to_pylist(),
            "contrast": [found[i]["contrast"] for i in ids],
            "unsafe": [found[i]["unsafe"] for i in ids],
            "duplicate_of": named(first_alike(codes, near), ids),
            "test_twin": twins(codes, test, near),
        }
    )


def real_table(images: HashedSet, names: Sequence[str], near: int, test: HashedSet | None = None) -> pd.DataFrame:
    """The same of real images, of the classes ``names``; without ``test`` they are the test images themselves."""
    rows = np.arange(len(images.labels))
    first = first_alike(images.codes, near)
    twin = twins(images.codes, test, near) if test else [None] * len(rows)
    suspect = (first != rows) | pd.notna(pd.Series(twin, dtype=object)).to_numpy() | ~(images.contrasts >= BLANK)
    ids = [f"image {row}" for row in rows]
    for row in {*rows[suspect], *first[suspect]}:
        ids[row] = images.where(row)
    return pd.DataFrame(
        {
            "image_id": ids,
            "label": [names[label] for label in images.labels],
            "contrast": images.contrasts,
            "unsafe": False,
            "duplicate_of": named(first, ids),
            "test_twin": twin,
        }
    )


def class_table(labels: Sequence[str], names: Sequence[str], share: int | None) -> pd.DataFrame:
    """``label, images, share`` of every class: what a set has of it, and the most that it was meant to have."""
    counts = Counter(labels)
    images = [counts[name] for name in names]
    return pd.DataFrame({"label": list(names), "images": images, "share": max(images) if share is None else share})


def named(first: np.ndarray, ids: Sequence[str]) -> list[str | None]:
    """For each image the id of the ``first`` that is like it, None if that is itself."""
    return [None if first_row == row else ids[first_row] for row, first_row in enumerate(first)]


def twins(codes: np.ndarray, test: HashedSet, near: int) -> list[str | None]:
    """For each image the test image that is like it, mirrored or not; None if there is none."""
    plain, mirrored = (nearest_alike(codes, other, near) for other in (test.codes, test.mirrored))
    found = np.where(plain >= 0, plain, mirrored)
    known: Mapping[int, str] = {row: test.where(row) for row in set(found[found >= 0].tolist())}
    return [known.get(row) for row in found.tolist()]
