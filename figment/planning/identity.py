"""Ids of many rows at once: the same SHA-256 of the same canonical JSON as ``Row.image_id``, put together column by column."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from figment.errors import InputError
from figment.files import digest
from figment.planning.row import ADDED_LATER, SCHEMA, Row, seed_of
from figment.text import reason_of, shown

spell = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # of a value that is no mapping or list
SPELT = sorted(Row.model_fields)  # the order of keys in canonical JSON; the first is not of ADDED_LATER


def table_of(rows: Sequence[Row]) -> pa.Table:
    """The rows as a part of a plan, in their order."""
    names = [name for name in SCHEMA.names if name in Row.model_fields]
    values = [row.__dict__ for row in rows]
    columns = [pa.array([value[name] for value in values], SCHEMA.field(name).type) for name in names]
    return identified(pa.table(columns, names), valid=True)


def identified(columns: pa.Table, valid: bool = False) -> pa.Table:
    """The plan's columns for a table that has all of them but ``image_id`` and ``seed``. The first row is checked as a
    ``Row`` (pydantic.ValidationError), the others are taken to be like it; ``valid``: all come from rows.

    Raises pyarrow.ArrowInvalid for a value that is absent or of the wrong type."""
    columns = columns.select(SCHEMA.names[2:]).cast(pa.schema(list(SCHEMA)[2:])).combine_chunks()
    if not len(columns):
        return SCHEMA.empty_table()
    if any(column.null_count for column in columns.columns):
        raise pa.ArrowInvalid("a plan's columns have no empty values")
    if not valid:
        Row(**columns.slice(0, 1).to_pylist()[0])
    hashes = [hashlib.sha256(text).digest() for text in spelt(columns).cast(pa.binary()).to_pylist()]
    joined = b"".join(hashes)
    seeds = (np.frombuffer(joined, ">u8").reshape(-1, 4)[:, 0] >> 1).astype(np.int64)
    words = columns["shared_noise"].combine_chunks().dictionary_encode()
    for number, word in enumerate(words.dictionary.to_pylist()):
        if word:
            seeds[words.indices.to_numpy() == number] = seed_of(digest(word))
    offsets = pa.py_buffer(np.arange(0, 64 * len(hashes) + 1, 64, dtype=np.int32))
    ids = pa.StringArray.from_buffers(len(hashes), offsets, pa.py_buffer(joined.hex().encode()))
    return pa.table([ids, pa.array(seeds), *columns.columns], schema=SCHEMA)


def spelt(columns: pa.Table) -> pa.Array:
    """(N,) strings: the canonical JSON of each row."""
    pieces: list[Any] = []
    for name in SPELT:
        piece = _piece(name, columns[name].combine_chunks())
        if pieces and isinstance(piece, str) and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    if all(isinstance(piece, str) for piece in pieces):
        pieces = [pa.array([""] * len(columns)), *pieces]
    return pc.binary_join_element_wise(*pieces, "}", "")


def _piece(name: str, column: pa.Array) -> pa.Array | str:
    """``,"name":value`` of every row, one string if it is the same for all: nothing where a later column is at its
    default. Every value is spelled once."""
    key = f"{'{' if name == SPELT[0] else ','}{spell(name)}:"
    if pa.types.is_list(column.type):
        found = column.flatten().dictionary_encode()
        words = _chosen([spell(word) for word in found.dictionary.to_pylist()], found)
        offsets = pc.subtract(column.offsets, column.offsets[0])
        lists = pc.binary_join(pa.ListArray.from_arrays(offsets, words), ",")
        texts = pc.binary_join_element_wise(key + "[", lists, "]", "")
        found = texts.dictionary_encode()
        return found.dictionary[0].as_py() if len(found.dictionary) == 1 else texts
    if pa.types.is_integer(column.type) and name not in ADDED_LATER and pc.any(pc.not_equal(column, column[0])).as_py():
        return pc.binary_join_element_wise(key, column.cast(pa.string()), "")
    default = Row.model_fields[name].default if name in ADDED_LATER else None
    found = column.dictionary_encode()
    texts = ["" if value == default else key + spell(value) for value in found.dictionary.to_pylist()]
    return texts[0] if len(texts) == 1 else _chosen(texts, found)


def _chosen(texts: list[str], found: pa.DictionaryArray) -> pa.Array:
    return pa.array(texts, pa.string()).take(found.indices)


def check_identity(rows: pa.Table, where: str, first: int = 0) -> pa.Table:
    """``rows`` of a plan, if each one's ``image_id`` and ``seed`` follow from its other fields: a row that was edited, and keeps
    them, would render as an image that it is not. ``where`` names the plan and ``first`` the number of its first row here, from
    0, in an InputError, which names the row, the field and what is wrong."""
    try:
        expected = identified(rows, valid=True)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise InputError(
            f"{where}: rows from {first}: a field is missing or no value of its type ({reason_of(error)}); write the plan again"
        ) from error
    for field in ("image_id", "seed"):
        found, right = (table[field].combine_chunks() for table in (rows, expected))
        same = pc.fill_null(pc.equal(found, right), False)
        if not pc.all(same, min_count=0).as_py():
            row = pc.index(same, False).as_py()
            raise InputError(
                f"{where}: row {first + row}: {field} is {shown(found[row].as_py())}, but the row's fields give "
                f"{right[row].as_py()!r} (prompt {shown(rows['prompt'][row].as_py())}); write the plan again"
            )
    return rows
