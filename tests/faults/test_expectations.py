"""Suites that a user edited: what is wrong with one is a sentence that names file and expectation, before the first gate."""

import json

import pytest

from figment.errors import InputError
from figment.ops.environment import ROOT
from figment.ops.expectations import FOLDER, PARAMETERS, Suite

UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "image_id"}}


def with_one(**changes) -> str:
    return json.dumps({"expectations": [UNIQUE, {**UNIQUE, **changes}]})


FAULTS = {
    "no JSON": ("{", "JSON"),
    "nothing": ("", "JSON"),
    "a list": ("[]", "list"),
    "NUL": ("\0", "plan.json"),
    "no expectations": ("{}", "expectations: found None"),
    "an empty list": (json.dumps({"expectations": []}), r"expectations: found \[\]"),
    "a number in the list": (json.dumps({"expectations": [UNIQUE, 5]}), r"expectations\[1\]: found 5"),
    "no kwargs": (json.dumps({"expectations": [{"type": UNIQUE["type"]}]}), r"expectations\[0\]: found"),
    "an unknown type": (with_one(type="expect_miracles"), r"expectations\[1\]: 'expect_miracles'.*not found"),
    "a type that is a number": (with_one(type=5), r"expectations\[1\]: 5"),
    "an unknown field": (with_one(kwargs={"colum": "image_id"}), r"expectations\[1\].*colum"),
    "an unknown key": (with_one(more=1), r"expectations\[1\].*more"),
    "an unknown parameter": (
        with_one(type="expect_column_values_to_be_in_set", kwargs={"column": "label", "value_set": {"$PARAMETER": "names"}}),
        r"value_set: no parameter 'names'; there are labels",
    ),
    "a parameter that is a list": (
        with_one(type="expect_column_values_to_be_in_set", kwargs={"column": "label", "value_set": {"$PARAMETER": ["labels"]}}),
        "value_set: no parameter",
    ),
    "a wrong type of value": (
        with_one(type="expect_column_values_to_be_between", kwargs={"column": "width", "min_value": [1]}),
        r"expectations\[1\].*min_value",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("asked", ["plan", "classes"], ids=["its gate", "an earlier gate"])
def test_an_edited_suite_is_refused_in_a_sentence(tmp_path, monkeypatch, text, sentence, asked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "plan.json").write_text(text)
    with pytest.raises(InputError, match=sentence) as caught:
        Suite(asked, {}).expectations()
    assert "plan.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_suites_that_come_along_are_whole(tmp_path, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    assert len(Suite(name, {}).expectations()) >= 2
