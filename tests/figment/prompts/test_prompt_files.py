"""Prompts that were written elsewhere, in every file that they come in."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.cli import main
from figment.errors import InputError
from figment.imports.contract import Options
from figment.imports.registry import import_source
from figment.labels import LabelSpace
from figment.prompts.contexts import ContextConfig, make_contexts
from figment.prompts.pair_book import PairPromptConfig, write_pair_prompts
from figment.prompts.prompt_files import read_prompt_file, read_rows

SPACE = LabelSpace.model_validate(
    {
        "labels": [{"name": "cat"}, {"name": "hot dog"}, {"name": "snowboard", "prompt_name": "snowboard equipment"}],
        "others": ["bus"],
    }
)
PAIR = ("A cat eats a hot dog in a kitchen.", ("cat", "hot dog"))
ALONE = ("A cat sleeps.", ("cat",))


def pairs(root: Path, raw: bool = False) -> Path:
    folder = root / "prompts"
    folder.mkdir()
    answer = (
        "Sure! Here are two phrases:\n1. {}\r\n2. A cat, and a hot dog beside it.\n"
        if raw
        else "{}\nA cat, and a hot dog beside it.\n"
    )
    (folder / "hot dog_cat.txt").write_text(answer.format(PAIR[0]))
    (folder / "cat_cat.txt").write_text(ALONE[0] + "\n")
    (folder / "snowboard equipment_cat.txt").write_text("A cat on a snowboard.\nA puppy on a board.\n")
    return folder


def table(root: Path, form: str) -> Path:
    rows = [PAIR, ALONE]
    if form == "csv":
        lines = ["text,labels", *(f'"{text}",{"|".join(labels)}' for text, labels in rows)]
        (root / "a.csv").write_text("\n".join(lines))
    elif form == "diagen":
        (root / "a.csv").write_text(
            "class_name;class_idx;prompt\ncat;1;a photo of a {name} on a road\ncat;1;a cat at night\n"
        )
    elif form == "parquet":
        pq.write_table(
            pa.Table.from_pylist([{"caption": t, "labels": list(names)} for t, names in rows]), root / "a.parquet"
        )
    else:
        (root / "a.jsonl").write_text("\n".join(json.dumps({"prompt": t, "labels": list(names)}) for t, names in rows))
    return next(root.glob("a.*"))


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_table_is_a_book(tmp_path, form):
    found, drops = read_prompt_file(table(tmp_path, form), SPACE, must_name=True)
    assert [(prompt.text, prompt.labels) for prompt in found] == [PAIR, ALONE]
    assert not drops


def test_diagens_csv(tmp_path):
    found, _ = read_prompt_file(table(tmp_path, "diagen"), SPACE, must_name=True)
    assert [prompt.text for prompt in found] == ["a photo of a cat on a road", "a cat at night"]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("must_name", [False, True])
def test_a_text_file_a_pair(tmp_path, raw, must_name):
    found, drops = read_prompt_file(pairs(tmp_path, raw), SPACE, must_name)
    by_labels = {}
    for prompt in found:
        by_labels.setdefault(prompt.labels, []).append(prompt.text)
    assert by_labels[PAIR[1]] == [PAIR[0], "A cat, and a hot dog beside it."]
    assert by_labels[ALONE[1]] == [ALONE[0]]
    assert len(by_labels.get(("cat", "snowboard"), [])) == (1 if must_name else 2)
    assert drops == ({"missing_label": 1} if must_name else {})


def test_recipes_take_a_file_and_what_was_imported(tmp_path):
    labels = tmp_path / "labels.yaml"
    labels.write_text(json.dumps({"labels": [label.model_dump(exclude={"id"}) for label in SPACE.labels]}))
    import_source("prompts", pairs(tmp_path), Options(labels=labels), tmp_path / "out")
    books = [
        write_pair_prompts(SPACE, PairPromptConfig(file=str(file), per_pair=1), tmp_path / "cache")
        for file in (tmp_path / "prompts", tmp_path / "out", tmp_path / "out/prompts.parquet")
    ]
    texts = [[(prompt.text, prompt.labels) for prompt in book.prompts] for book in books]
    assert texts[0] == texts[1] == texts[2]
    assert PAIR in texts[0]
    assert len(texts[0]) == 6  # one a pair, of which three have the template
    assert {prompt.trick for prompt in books[0].prompts} == {"file", "template"}
    assert not (tmp_path / "cache").exists()


def test_contexts_take_any_file(tmp_path):
    space = LabelSpace.of(["cat", "bus"])
    file = tmp_path / "a.jsonl"
    file.write_text(
        "\n".join(json.dumps({"text": f"a photo of a {name} at night", "label": name}) for name in ("cat", "bus"))
    )
    found = make_contexts(space, ContextConfig(file=str(file)), tmp_path)
    assert found == {"cat": ["a photo of a {name} at night"], "bus": ["a photo of a {name} at night"]}


FAULTS = {
    "another ending": ("a.docx", "x", "not readable prompts"),
    "an empty csv": ("a.csv", "", "its fields are none"),
    "a csv without labels": ("a.csv", "text,kind\na,b\n", "its fields are 'text', 'kind'"),
    "a field too many": ("a.csv", "text,labels\na,b,c\n", "line 2: not as many fields"),
    "a field too few": ("a.csv", "text,labels\na\n", "line 2: not as many fields"),
    "a prompt of nothing": ("a.csv", "text,labels\n ,cat\n", "line 2: prompt ''"),
    "a prompt too long": ("a.csv", f"text,labels\n{'cat ' * 200},cat\n", "1 to 400 printable"),
    "no class": ("a.jsonl", '{"text": "a", "labels": []}', "names no class"),
    "a number as class": ("a.jsonl", '{"text": "a", "labels": [3]}', "expected text and names"),
    "a list as line": ("a.jsonl", "[1]", "line 1: .*expected an object"),
    "half a line": ("a.jsonl", '{"text": ', "line 1: not JSON"),
    "no parquet": ("a.parquet", "PAR1", "not a readable Parquet"),
    "an unclosed quote": ("a.csv", 'text,labels\n"a,cat\n', "not a CSV"),
}


@pytest.mark.parametrize(("name", "text", "said"), FAULTS.values(), ids=FAULTS)
def test_fault(tmp_path, capsys, name, text, said):
    import re

    (tmp_path / name).write_text(text)
    assert main(["import", "prompts", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("a_b_c.txt", "may be split in 2 ways; give --labels"), ("car_moon.txt", "says no class")],
)
def test_a_pairs_name(tmp_path, name, said):
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=said):
        list(read_rows(tmp_path, None if "--labels" in said else SPACE))


def test_an_unknown_class_and_one_that_was_not_chosen(tmp_path):
    (tmp_path / "a.csv").write_text("text,labels\na bus,bus\na kat,kat\n")
    with pytest.raises(InputError, match="line 3: 'kat' is no known class; the nearest known names are cat"):
        read_prompt_file(tmp_path / "a.csv", SPACE, must_name=True)
    (tmp_path / "a.csv").write_text("text,labels\na bus,bus\na cat,cat\n")
    assert read_prompt_file(tmp_path / "a.csv", SPACE, must_name=True)[1] == {"not_chosen": 1}


def test_chat_and_file_are_one_too_many():
    with pytest.raises(ValueError, match="both chat and file"):
        PairPromptConfig(file="a.csv", chat={"model": "x"})


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["csv", "jsonl", "parquet", "tsv"]), st.booleans())
def test_any_bytes_are_rows_or_an_input_error(tmp_path_factory, data, suffix, header):
    file = tmp_path_factory.mktemp("fuzz") / f"a.{suffix}"
    file.write_bytes((b"text,labels\n" if header and suffix == "csv" else b"") + data)
    try:
        read_prompt_file(file, SPACE, must_name=False)
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError("more than a line") from error
