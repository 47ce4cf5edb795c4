import datetime
import enum
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.text import one_line, reason_of, shown

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


def doubled(start, levels=60):
    """A value of so many levels, each of which holds the one below twice."""
    for _ in range(levels):
        start = type(start)([start, start])
    return start


@given(PLAIN, st.integers(10, 200))
def test_a_plain_value_is_its_repr_as_far_as_that_fits(value, limit):
    text, whole = shown(value, limit), repr(value)
    assert len(text) <= limit
    assert text == whole or (text.endswith("...") and len(whole) > limit)


@pytest.mark.parametrize(
    "value",
    [doubled([]), doubled(()), {"a": doubled([])}, [{doubled((), 8): 1}, doubled(())], "x" * 10**7, 10**5000, b"x" * 10**7],
    ids=["lists", "tuples", "in a dict", "key", "text", "number", "bytes"],
)  # fmt: skip
def test_a_huge_value_is_shown_at_once(value):
    start = time.monotonic()
    assert len(shown(value)) <= 80
    assert len(reason_of(KeyError(value))) <= 300
    assert len(reason_of(ValueError("x", value))) <= 300
    assert time.monotonic() - start < 1


def test_a_list_that_holds_itself_is_shown():
    value = []
    value.append(value)
    assert shown(value).endswith("...")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Path("a"), "PosixPath('a')"),
        (datetime.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (np.zeros((9,) * 7, np.uint8), "<ndarray>"),
        ({1, 2}, "{1, 2}"),
        (enum.Enum("Colour", "RED").RED, "<Colour.RED: 1>"),
        ("\ud800\u202e", r"'\ud800\u202e'"),
    ],
)
def test_other_objects(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\n\tb\x00\x1b[31mc\u202e\ud800", "a b[31mc"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        ("key s3cret-key-1 is bad", "key *** is bad"),
        ("key s3cret-k", "key ***"),
        ("ends on ret-key-1!", "ends on ***!"),
        ("s3cret-key-1s3cret-key-1", "******"),
        ("s3cr\x00et-k\u200bey-1", "***"),
        ("the key", "the key"),
        ("", ""),
        ("x" * 10**7, "x" * 297 + "..."),
    ],
)
def test_server_text_is_one_short_line_without_the_key(text, line):
    assert one_line(text, ["s3cret-key-1"]) == line


@given(st.text(), st.text(), st.text(min_size=1, alphabet="abcdefgh123-_"))
def test_no_text_shows_a_key(before, after, key):
    text = one_line(f"{before}{key}{after}", [key])
    assert key not in text
    assert len(text) <= 300
    assert text.isprintable()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(2, "No such file or directory", "/secret/place"), "No such file or directory"),
        (KeyError("name"), "there is no 'name'"),
        (ValueError(), "ValueError"),
        (ValueError("two\nlines"), "two lines"),
        (ValueError(["a"]), "ValueError: ['a']"),
    ],
)
def test_reasons(error, text):
    assert reason_of(error) == text
