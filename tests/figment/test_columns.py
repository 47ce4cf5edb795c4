"""Columns as arrays say what Python objects a row would."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from figment.columns import Places, Wanted, id_array, numbered, sorted_by_id, turns
from figment.files import digest

IDS = [digest(number) for number in range(50)]
FORMS = {
    "list": list,
    "array": pa.array,
    "slice": lambda ids: pa.array(["0" * 64, *ids]).slice(1),
    "chunks": lambda ids: pa.chunked_array([ids[:7], ids[7:]], pa.string()),
    "no chunk": lambda ids: pa.chunked_array([pa.array(ids)]) if ids else pa.chunked_array([], pa.string()),
    "numpy": lambda ids: np.array(ids, "S64"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ids", [IDS, sorted(IDS), ["a", "bc"], []], ids=["random", "sorted", "short", "none"])
def test_ids_are_the_same_in_every_form(form, ids):
    given = FORMS[form](ids)
    assert [found.decode() for found in id_array(given).tolist()] == ids
    places = Places(given)
    assert places.of(ids[::-1]).tolist() == list(range(len(ids)))[::-1]
    assert places.hold([*ids, "f" * 64, ""]).tolist() == [True] * len(ids) + [False, False]


@pytest.mark.parametrize("ids", [IDS, sorted(IDS)], ids=["random", "sorted"])
def test_what_is_wanted_is_found_once(ids):
    wanted = Wanted(ids[:20] + ids[:3])
    rows, numbers = wanted.places(pa.array(ids[10:30]))
    assert rows.tolist() == list(range(10))
    assert [wanted.ids[number].decode() for number in numbers] == ids[10:20]
    assert wanted.places(ids)[0].tolist() == list(range(10))
    assert wanted.has_between(min(ids[:20]), max(ids[:20]))
    assert not wanted.has_between("g", "h")


def test_turns_count_within_each_group():
    column = pa.chunked_array([["b", "a"], ["b", "c", "a", "b"]])
    groups, names = numbered(column)
    assert [names[group] for group in groups] == column.to_pylist()
    assert turns(groups).tolist() == [0, 0, 1, 0, 1, 2]
    assert numbered(pa.chunked_array([], pa.string()))[1] == [] == turns(np.zeros(0, np.int64)).tolist()
    assert Counter(turns(np.zeros(9, np.int64)).tolist()) == Counter(range(9))


def test_a_table_is_sorted_only_if_it_is_not():
    table = pa.table({"image_id": sorted(IDS)})
    assert sorted_by_id(table) is table
    assert sorted_by_id(pa.table({"image_id": IDS})).equals(table)


@pytest.mark.parametrize("odd", ["a" * 64 + "b", "é" * 64, None])
def test_what_is_no_id_equals_none(odd):
    assert not Places(["a" * 64]).hold(pa.array([odd], pa.string())).any()
    assert not len(Wanted(["a" * 64]).places(pa.array([odd], pa.string()))[0])
