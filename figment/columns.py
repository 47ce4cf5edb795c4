"""Columns of large tables as arrays, with no Python object a row: image ids, looked up by bisection, and groups of rows."""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import pyarrow as pa

LENGTH = 64
Ids: TypeAlias = Iterable[str] | pa.Array | pa.ChunkedArray | np.ndarray


def id_array(ids: Ids) -> np.ndarray:
    """(N,) bytes, in the order of ``ids``; of an Arrow array its own memory, where that is in one piece. What cannot be an id,
    in a file that was edited, is b"" and so equals none."""
    if isinstance(ids, np.ndarray):
        return ids
    if isinstance(ids, pa.ChunkedArray):
        parts = [id_array(chunk) for chunk in ids.chunks]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, f"S{LENGTH}"), *parts])
    if isinstance(ids, pa.StringArray) and len(ids) and not ids.null_count:
        ends = np.frombuffer(ids.buffers()[1], np.int32, len(ids) + 1, ids.offset * 4)
        if (np.diff(ends) == LENGTH).all():
            return np.frombuffer(ids.buffers()[2], f"S{LENGTH}", len(ids), int(ends[0]))
    values = ids.to_pylist() if isinstance(ids, pa.Array) else list(ids)
    fits = (isinstance(value, str) and value.isascii() and len(value) <= LENGTH for value in values)
    return np.array([value if fit else "" for value, fit in zip(values, fits, strict=True)], dtype=f"S{LENGTH}")


class Wanted:
    """Ids of which each is to be found once."""

    def __init__(self, ids: Ids):
        found = id_array(ids)
        self.ids = found if (found[:-1] < found[1:]).all() else np.unique(found)
        self._left = np.ones(len(self.ids), bool)

    def has_between(self, first: str, last: str) -> bool:
        low, high = self.ids.searchsorted(first.encode()), self.ids.searchsorted(last.encode(), "right")
        return bool(low < high)

    def places(self, ids: Ids) -> tuple[np.ndarray, np.ndarray]:
        """(rows of ``ids``, their numbers among the wanted) of those that were not found before."""
        given = id_array(ids)
        at = self.ids.searchsorted(given)
        rows = np.flatnonzero(at < len(self.ids))
        rows = rows[self.ids[at[rows]] == given[rows]]
        rows = rows[self._left[at[rows]]]
        self._left[at[rows]] = False
        return rows, at[rows]


class Places:
    """The rows of ids, each of which is there once."""

    def __init__(self, ids: Ids):
        found = id_array(ids)
        self._order = None if (found[:-1] < found[1:]).all() else found.argsort(kind="stable")
        self._ids = found if self._order is None else found[self._order]

    def of(self, ids: Ids) -> np.ndarray:
        """(M,) the row of each, all of which are there."""
        at = self._ids.searchsorted(id_array(ids))
        return at if self._order is None else self._order[at]

    def hold(self, ids: Ids) -> np.ndarray:
        """(M,) whether each is there."""
        given = id_array(ids)
        at = self._ids.searchsorted(given)
        found = at < len(self._ids)
        found[found] = self._ids[at[found]] == given[found]
        return found


def numbered(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """(N,) the number of each value, and the values."""
    words = column.dictionary_encode().combine_chunks()
    return words.indices.to_numpy(zero_copy_only=False).astype(np.int64), words.dictionary.to_pylist()


def turns(groups: np.ndarray) -> np.ndarray:
    """(N,) how many before each are of its group."""
    order = groups.argsort(kind="stable")
    in_order = groups[order]
    found = np.empty(len(groups), np.int64)
    found[order] = np.arange(len(groups)) - in_order.searchsorted(in_order)
    return found


def sorted_by_id(table: pa.Table) -> pa.Table:
    """By ``image_id``, as tables are already where a step wrote them."""
    ids = id_array(table["image_id"])
    return table if (ids[:-1] <= ids[1:]).all() else table.sort_by("image_id")
