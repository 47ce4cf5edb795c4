import pickle
import random
import tracemalloc

import numpy as np
import pytest

from figment import safe_pickle
from figment.clip.label_vectors import read_pickled_vectors
from figment.errors import InputError

RECONSTRUCT = np.ndarray((0,)).__reduce__()[0]


class Forged:
    """Whatever a pickle may ask for: a call, and a state for what it returns."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def array(code="O", order="|", flags=0, shape=(3, 2), raw=b"A" * 48):
    kind = Forged(np.dtype, (code, False, True), (3, order, None, None, None, -1, -1, flags))
    return Forged(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, kind, False, raw))


def load(path, content, protocol=2, **kwargs):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return safe_pickle.load(path, "an array", **kwargs)


@pytest.mark.parametrize("wrap", [lambda array: array, lambda array: {"wordvec_array": array}])
def test_bytes_that_pose_as_addresses_of_objects_are_not_followed(tmp_path, wrap):
    """numpy alone ends in a segmentation fault: the flags say that an array of objects is one of plain values."""
    path = tmp_path / "forged.pickle"
    path.write_bytes(pickle.dumps(wrap(array("O", flags=1)), 2))
    with pytest.raises(
        InputError, match=r"forged\.pickle: not a pickled .*an array of 'O', where only numbers are read"
    ):
        read_pickled_vectors(path, ["a", "b"])


def test_flags_of_a_format_are_ignored(tmp_path):
    found = load(tmp_path / "a.pickle", array("f2", "<", 63, (2, 2), np.arange(4, dtype="<f2").tobytes()))
    assert np.array_equal(found, [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    "content",
    [
        array("V8"),
        array("S4"),
        array("f3"),
        array("f8", "x"),
        array("f8", shape=(3, 3)),
        array("f8", shape=(-3, -2)),
        array("f8", shape=(2**62, 2**62)),
        array("f8", raw=[1, 2]),
        array("f8", raw=bytearray(48)),
        Forged(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (6,), "f8", False, b"A" * 48)),
        Forged(RECONSTRUCT, (np.ndarray, (0,), b"b"), ()),
        Forged(np.dtype, ("f8", False, True), ()),
        pickle.dumps(np.ones(3), 2).replace(b"_reconstruct", b"array\n"),
        b"\x80\x02cnumpy\nndarray\nK\x01b.",  # a state for a class
        b"\x80\x02cnumpy\ndtype\n}b.",
        b"(" * 9 + b".",
        b"I" + b"9" * 5000 + b"\n.",
    ],
)
def test_what_cannot_be_is_one_clear_sentence(tmp_path, content):
    with pytest.raises(InputError, match=r"a\.pickle: not an array \(") as caught:
        load(tmp_path / "a.pickle", content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("kind", ["?", "u1", "i8", "<f2", ">f4", ">i2", "f8"])
@pytest.mark.parametrize("make", [lambda a: a, np.asfortranarray, lambda a: np.array(a[1, 1])])
def test_arrays_are_read_as_they_were(tmp_path, protocol, kind, make):
    expected = make(np.arange(600).reshape(20, 30).astype(kind))
    found = load(tmp_path / "a.pickle", {"x": expected}, protocol)["x"]
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype.newbyteorder("=")
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("encoding", ["bytes", "latin1"])
def test_arrays_of_python_2(tmp_path, encoding):
    text = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR"
    text += b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x07\\xff'\ntb."
    assert np.array_equal(load(tmp_path / "a.pickle", text, encoding=encoding), np.array([7, 255], np.uint8))


def test_a_pickle_does_not_alter_the_reader(tmp_path):
    """An opcode sets attributes of what a pickle was given, here of the function that makes bytes of text."""
    forged = b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__)s\x86b."
    with pytest.raises(InputError, match="it sets attributes"):
        load(tmp_path / "a.pickle", forged)
    with pytest.raises(InputError):
        load(tmp_path / "a.pickle", b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a\x85R.")


def test_a_huge_number_to_remember_by_takes_no_memory(tmp_path):
    """Pickle's own code in C fills a table of up to 64 GB for it, here of 2 GB."""
    tracemalloc.start()
    try:
        assert load(tmp_path / "a.pickle", b"\x80\x02K\x01r\xff\xff\xff\x07.") == 1
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [{"wordvec_array": np.ones((1, 3, 2), np.float16)}, {"train": {1, 2}, "test": {0}}])
def test_damage_of_any_kind_is_an_input_error(tmp_path, content):
    good, chance, refused = pickle.dumps(content, 2), random.Random(0), 0
    for _ in range(250):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            load(tmp_path / "a.pickle", bytes(data))
        except InputError:
            refused += 1
    assert 125 < refused < 250
