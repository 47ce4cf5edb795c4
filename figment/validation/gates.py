"""What the gates look at: one table a set, with each image's near-duplicate and its twin among the test images."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from figment.columns import Places
from figment.synthesis.pool import Pool
from figment.validation.duplicates import first_alike, nearest_alike
from figment.validation.hashes import HashedSet, HashStore
from figment.validation.verdicts import BLANK

LOOKED_AT = 100_000  # rows of a table


def training_tables(chosen: pa.Table, pool: Pool, test: HashedSet, near: int) -> Iterator[pd.DataFrame]:
    """``image_id, label, contrast, unsafe, duplicate_of, test_twin`` of a training list, in its order: one table, or parts of
    ``LOOKED_AT`` rows, since Great Expectations takes a Python object a cell."""
    ids = chosen["image_id"]
    places, contrast, unsafe = Places(ids), np.full(len(ids), np.nan, np.float32), np.zeros(len(ids), bool)
    for batch in pool.read(ids, ["image_id", "contrast", "unsafe"]):
        rows = places.of(batch["image_id"])
        contrast[rows], unsafe[rows] = batch["contrast"].to_numpy(), batch["unsafe"].to_numpy(zero_copy_only=False)
    codes = HashStore(pool).codes(ids)
    first = first_alike(codes, near)
    for start in range(0, max(len(ids), 1), LOOKED_AT):
        part = slice(start, start + LOOKED_AT)
        rows = np.arange(len(ids))[part]
        original = ids.take(pa.array(first[part], mask=first[part] == rows))
        yield pd.DataFrame(
            {
                "image_id": ids[part].to_pylist(),
                "label": chosen["label"][part].to_pylist(),
                "contrast": contrast[part].astype(float),
                "unsafe": unsafe[part],
                "duplicate_of": original.to_pylist(),
                "test_twin": twins(codes[part], test, near),
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


def class_table(counts: Mapping[str, int], names: Sequence[str], share: int | None) -> pd.DataFrame:
    """``label, images, share`` of every class: what a set has of it, and the most that it was meant to have."""
    images = [counts.get(name, 0) for name in names]
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
