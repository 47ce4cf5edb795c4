"""Pickled files that people download, by the readers a recipe reaches: one sentence that names the file, at once."""

import contextlib
import os
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.clip.label_vectors import read_pickled_names, read_pickled_vectors
from figment.datasets.cifar_batches import chunks
from figment.errors import InputError
from tests.figment.test_safe_pickle import Forged, array

READERS = {
    "vectors": read_pickled_vectors,
    "names": read_pickled_names,
    "cifar": lambda path: chunks(path.parent, "test"),
}

EXAMPLES = int(os.environ.get("FIGMENT_FUZZ_EXAMPLES", "150"))


def doubled(leaf: bytes = b")", levels: int = 40) -> bytes:
    """Opcodes of pairs of pairs, with ``leaf`` at the bottom."""
    return leaf + b"q\x00" + b"h\x00\x86q\x00" * levels


def nested_lists(levels: int) -> bytes:
    return b"]" * levels + b"a" * (levels - 1)


DTYPE, NDARRAY = b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"
BOMBS = {
    "dict key": b"}" + doubled() + b"Ns.",
    "one of many dict keys": b"}(K\x01N" + doubled() + b"Nu.",
    "dict of a mark": b"(" + doubled() + b"Nd.",
    "member of a set": b"\x8f(" + doubled() + b"\x90.",
    "frozen set": b"(" + doubled() + b"\x91.",
    "set of Python 2": b"c__builtin__\nset\n](" + doubled() + b"e\x85R.",
    "set called": b"cbuiltins\nset\n(" + doubled() + b"t\x85R.",
    "code of a dtype": DTYPE + doubled() + b"\x85R.",
    "code of a dtype, a list": DTYPE + nested_lists(30) + b"\x85R.",
    "byte order": DTYPE + b"X\x02\x00\x00\x00f4\x85R(K\x03" + doubled() + b"tb.",
    "shape": NDARRAY + b")R(K\x01" + doubled() + DTYPE + b"X\x02\x00\x00\x00f4\x85R\x89C\x00tb.",
    "format of an array": NDARRAY + b")R(K\x01)" + doubled() + b"\x89C\x00tb.",
    "bytes of an array": NDARRAY + b")R(K\x01)" + DTYPE + b"X\x02\x00\x00\x00f4\x85R\x89" + doubled() + b"tb.",
    "attribute of an object": DTYPE + b"}" + doubled() + b"Nsb.",
    "attribute of a function": b"c_codecs\nencode\n}X\x01\x00\x00\x00aNsb.",
    "key of an array": NDARRAY + b")R" + doubled() + b"Ns.",
    "value": doubled() + b".",
    "value of a key": b"}X\x05\x00\x00\x00train" + doubled() + b"s.",
    "list of lists": b"]q\x00" + b"]h\x00ah\x00aq\x00" * 40 + b".",
    "deep": nested_lists(50_000) + b".",
    "deep tuples": b")" + b"\x85" * 100_000 + b".",
    "itself": b"]q\x00h\x00a.",
    "name of a class": b"c" + b"a" * 100_000 + b"\nb\n.",
    "name with controls": b"c\x1b[31m\rx\nb\n.",
    "labels of CIFAR": b"}(C\x06labels" + doubled(b"K\x01") + b"C\x04data" + doubled(b"K\x01") + b"u.",
    "a key that is a dtype": b"}" + DTYPE + b"X\x02\x00\x00\x00f4\x85RNs.",
}
OTHER = {
    "empty": b"",
    "only a stop": b".",
    "text": b"a,b\n1,2\n",
    "cut": pickle.dumps({"train": {0}})[:-4],
    "module": pickle.dumps(os.getcwd),
    "system": b"cos\nsystem\n(S'exit 1'\ntR.",
    "eval": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    "attribute of a module": b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__class__.x\x93.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"Pabc\n.",
    "out of band": b"\x80\x05\x97.",
    "memo that is not there": b"h\x07.",
    "huge length": b"\x80\x02X\xff\xff\xff\xff.",
    "protocol of tomorrow": b"\x80\x63.",
    "five thousand digits": b"I" + b"9" * 5000 + b"\n.",
    "objects": pickle.dumps(np.array([{}, []], object), 2),
    "datetimes": pickle.dumps(np.array(["2026-01-01"], "datetime64[D]"), 2),
    "structured": pickle.dumps(np.zeros(2, "i4,f4"), 2),
    "complex": pickle.dumps(np.zeros(2, complex), 2),
    "a shape beyond its bytes": pickle.dumps(array("f8", shape=(2**40, 2**20)), 2),
}
FLAT = {"none": None, "number": 3, "text": "abc", "list of numbers": [1, 2], "nested": [[["a"]]], "set": {1}}


def read(reader: str, folder, content: bytes) -> str:
    """The sentence with which ``reader`` refuses ``content``; what it took."""
    path = folder / "test_batch"
    path.write_bytes(content)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b"]}))
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        READERS[reader](path)
    assert time.monotonic() - start < 20
    sentence = str(caught.value)
    assert "test_batch" in sentence
    assert sentence.isprintable()
    assert len(sentence) < len(str(folder)) + 500
    return sentence


@pytest.mark.parametrize("reader", ["vectors", "names"])
@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_structure_that_holds_itself_twice_is_refused_at_once(tmp_path, reader, content):
    read(reader, tmp_path, b"\x80\x04" + content)


@pytest.mark.parametrize("reader", ["names", "cifar"])
@pytest.mark.parametrize("name", ["dict key", "value", "list of lists", "labels of CIFAR", "deep"])
def test_the_other_readers_refuse_them_too(tmp_path, reader, name):
    read(reader, tmp_path, b"\x80\x04" + BOMBS[name])


@pytest.mark.parametrize("content", OTHER.values(), ids=OTHER)
def test_whatever_is_no_plain_data_is_one_sentence(tmp_path, content):
    read("vectors", tmp_path, content)


@pytest.mark.parametrize("reader", ["vectors", "names", "cifar"])
@pytest.mark.parametrize("content", FLAT.values(), ids=FLAT)
def test_plain_data_of_the_wrong_kind_is_one_sentence(tmp_path, reader, content):
    read(reader, tmp_path, pickle.dumps(content))


OPCODES = [
    b"h\x00",
    b"q\x00",
    b"(",
    b")",
    b"]",
    b"}",
    b"\x85",
    b"\x86",
    b"\x87",
    b"s",
    b"u",
    b"a",
    b"e",
    b"t",
    b"l",
    b"d",
]
OPCODES += [b"\x8f", b"\x90", b"\x91", b"b", b"R", b"0", b"1", b"2", b"N", b"K\x01", b"C\x01a", b"X\x01\x00\x00\x00a"]
OPCODES += [
    DTYPE,
    NDARRAY,
    b"c__builtin__\nset\n",
    b"c_codecs\nencode\n",
    b"X\x02\x00\x00\x00f4",
    b"\x81",
    b"o",
    b"\x94",
]


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(OPCODES), max_size=60), st.sampled_from(sorted(READERS)))
def test_any_run_of_opcodes_is_read_or_refused_in_one_sentence(tmp_path_factory, opcodes, reader):
    _read_or_refuse(tmp_path_factory.getbasetemp(), b"\x80\x04" + b"".join(opcodes) + b".", reader)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_any_damage_is_read_or_refused_in_one_sentence(tmp_path_factory, data):
    good = data.draw(st.sampled_from([pickle.dumps(Forged(np.dtype, ("f4",)), 2), *BOMBS.values(), *OTHER.values()]))[
        :2000
    ]
    spoilt = bytearray(good or b".")
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    _read_or_refuse(tmp_path_factory.getbasetemp(), bytes(spoilt), data.draw(st.sampled_from(sorted(READERS))))


def _read_or_refuse(folder, content: bytes, reader: str) -> None:
    path = folder / "test_batch"
    path.write_bytes(content)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b"]}))
    with contextlib.suppress(InputError):  # whatever else is raised is an escape
        READERS[reader](path)
