"""All text that users give, by every entrance that reads it: it is read right or told in one sentence."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.cli import main
from figment.clip.label_vectors import read_names
from figment.datasets.coco import load_coco
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.pipelines import check_config, figment_pipeline
from figment.ops.stacks_file import read_stack
from figment.prompts.contexts import read_contexts
from figment.reading import parse_yaml, read_json, read_yaml
from figment.types import Settings
from figment.validation.review import read_review

SPACE = LabelSpace.of(["café", "dog"])
LABELS = "labels:\n- name: café\n- name: dog\n"
REVIEW = f"image_id,decision\n{'a' * 64},keep\n"
CONTEXTS = "class_name;class_idx;prompt\ncafé;1;a {name} at night\ndog;2;a {name}\n"
COCO = '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "café"}]}'
CONFIG = "parameters:\n  output: artifacts/café\n"


class Output(Settings):
    output: str


@figment_pipeline
def config_of(recipe: Output) -> None: ...


ENTRANCES: dict[str, tuple[Callable[[Path], Any], str, Callable[[Any], Any], Any]] = {  # reader, right text, view, seen
    "labels": (LabelSpace.load, LABELS, lambda found: found.names, ("café", "dog")),
    "names": (read_names, "café\ndog\n", tuple, ("café", "dog")),
    "contexts": (lambda p: read_contexts(p, SPACE), CONTEXTS, lambda f: f["café"], ["a {name} at night"]),
    "review": (read_review, REVIEW, dict, {"a" * 64: True}),
    "coco": (load_coco, COCO, lambda found: found.cats[1]["name"], "café"),
    "config": (lambda p: check_config(p, config_of.entrypoint), CONFIG, dict, {"output": "artifacts/café"}),
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


def sentence_of(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_any_unicode_with_its_mark_is_read_right(entrance, encoding, tmp_path):
    read, text, view, seen = ENTRANCES[entrance]
    path = tmp_path / "text.csv"
    path.write_bytes(text.encode(encoding))
    assert view(read(path)) == seen


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["Windows", "old Mac"])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_lines_may_end_as_on_other_systems(entrance, end, tmp_path):
    read, text, view, seen = ENTRANCES[entrance]
    path = tmp_path / "text.csv"
    path.write_bytes(text.replace("\n", end).encode())
    assert view(read(path)) == seen


BROKEN: dict[str, tuple[Callable[[Path, str], Any], str]] = {
    "latin-1": (lambda p, text: p.write_bytes(text.encode("latin-1", "replace")), "byte 0xe9 is not UTF-8"),
    "utf-16 without mark": (lambda p, text: p.write_bytes(text.encode("utf-16-le")), "UTF-8"),
    "cut utf-16": (lambda p, text: p.write_bytes(text.encode("utf-16")[:-1]), "is not UTF-16"),
    "binary": (lambda p, text: p.write_bytes(bytes(range(256))), "UTF-8"),
    "NUL": (lambda p, text: p.write_text(text + "\0"), "holds a NUL character"),
    "missing": (lambda p, text: None, "No such file"),
    "folder": (lambda p, text: p.mkdir(), "it is a folder"),
    "pipe": (lambda p, text: os.mkfifo(p), "it is a named pipe"),
    "device": (lambda p, text: p.symlink_to("/dev/zero"), "it is a device"),
    "socket": (lambda p, text: socket.socket(socket.AF_UNIX).bind(os.path.relpath(p)), "it is a socket"),
    "dangling link": (lambda p, text: p.symlink_to("nowhere"), "a link to a file that is not there"),
    "circle of links": (lambda p, text: p.symlink_to(p), "symbolic links"),
    "10 TB": (lambda p, text: (p.touch(), os.truncate(p, 10 << 40)), "bytes, at most"),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_what_is_no_text_is_told_at_once(entrance, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read, text, _, _ = ENTRANCES[entrance]
    make, why = BROKEN[fault]
    make(tmp_path / "text.csv", text if "é" in text else text + "é\n")
    started = time.monotonic()
    sentence = sentence_of(read, tmp_path / "text.csv")
    assert time.monotonic() - started < 2
    if (entrance, fault) == ("contexts", "folder"):  # prompts may lie in one
        why = "holds no .txt"
    else:
        assert f"{tmp_path}/text.csv: not " in sentence
    assert why in sentence
    assert "expected" in sentence


@pytest.mark.parametrize(
    "name", ["x" * 5000, "x/" * 2500 + "x", "a\0b", os.fsdecode(b"caf\xe9")], ids=["name", "path", "NUL", "no UTF-8"]
)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_path_that_no_system_takes_is_told(entrance, name, tmp_path):
    sentence = sentence_of(ENTRANCES[entrance][0], tmp_path / name)
    assert "readable" in sentence
    assert len(sentence) < 700
    sentence.encode()  # can be printed


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{f'*{a}, ' * 40}]\n" for a, b in ("ab", "bc", "cd", "de", "ef"))
YAML = {
    "list": ("- 1\n", "found a list"),
    "text": ("hello\n", "found text"),
    "number": ("5\n", "found a number"),
    "no": ("no\n", "found true or false"),
    "list of parameters": ("parameters: [1]\n", "parameters: found a list"),
    "parameters is 5": ("parameters: 5\n", "parameters: found a number"),
    "steps is text": ("steps: x\nparameters: {output: x}\n", "steps: found text"),
    "a key that is no text": ("parameters: {5: x}\n", "the key 5, a number"),
    "deep": ("a: " + "[" * 1100, "nested too deep"),
    "deep and closed": ("a: " + "{a: " * 3000 + "1" + "}" * 3000, "nested too deep"),
    "5,000 digits": ("a: " + "9" * 5000, "line 1: it is no value of kind int"),
    "5,000 hexadecimal digits": ("a: 0x" + "f" * 5000, "line 1: it is no value of kind int"),
    "twice the same key": ("parameters: {output: x}\nparameters: {output: y}\n", "line 2: 'parameters' is given twice"),
    "twice below": ("parameters:\n  output: x\n  output: y\n", "line 3: 'output' is given twice"),
    "circle": ("a: &a [*a]\n", "an alias within what it stands for"),
    "alias bomb": (BOMB, "by its aliases"),
    "code": ("a: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
    "date": ("a: 2024-13-45\n", "line 1: it is no value of kind timestamp"),
    "two documents": ("a: 1\n---\nb: 1\n", "another document"),
    "tab": ("a:\n\tb: 1\n", "line 2: found character"),
    "half a character": ('a: "\\ud800"\n', "line 1: it is no value of kind str"),
    "list as key": ("? [a]\n: b\n", "found unhashable key"),
}  # fmt: skip


@pytest.mark.parametrize("fault", YAML)
def test_yaml_of_a_wrong_shape_is_told(fault, tmp_path, capsys):
    text, why = YAML[fault]
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert why in sentence_of(lambda p: check_config(p, config_of.entrypoint), path)
    assert main(["estimate", "-c", str(path)]) == 2
    assert why in capsys.readouterr().err
    if "parameters" not in text and "steps" not in text:
        assert why in sentence_of(LabelSpace.load, path)
        assert why in sentence_of(read_stack, path)


def test_an_empty_config_lacks_its_parameters(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("")
    assert main(["estimate", "-c", f"{tmp_path}/config.yaml"]) == 2
    assert "config.yaml: no pipeline has any of its parameters; begin it with" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_zenml_reads_the_config_that_figment_reads(encoding, tmp_path):
    """It opens the file by itself, in the encoding of the locale."""
    path = tmp_path / "config.yaml"
    path.write_bytes("run_name: café\nparameters: {output: x}\n".encode(encoding))
    assert config_of._parse_config_file(str(path), ["run_name"]) == {"run_name": "café"}


SOME = settings(max_examples=int(os.environ.get("FIGMENT_FUZZ", 60)), deadline=None)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda part: st.lists(part, max_size=4) | st.dictionaries(LEAVES, part, max_size=4))
LABEL_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    name: VALUES | st.sampled_from(["dog", "Dog", "cat", "car"]) | st.lists(st.just("dog"), max_size=2)
                    for name in ("name", "prompt_name", "clip_name", "synonyms", "unseen", "hint", "parents")
                },
            )
            | VALUES,
            max_size=4,
        )
        | VALUES,
        "others": VALUES,
        "confusable": VALUES | st.just([["dog", "cat"]]),
        "strange": VALUES,
    },
)


def told(read: Callable[..., Any], *arguments: Any) -> None:
    """A reader answers or raises one sentence; anything else escapes, and fails the test."""
    sentence = ""
    try:
        read(*arguments)
    except InputError as error:
        sentence = str(error)
    assert "\n" not in sentence
    sentence.encode()


@SOME
@given(st.text() | st.text(alphabet="a1:-[]{}&*!?|>#'\"\n \t<=%@.,0x"))
def test_any_text_as_yaml_is_a_value_or_a_sentence(text):
    told(parse_yaml, text, "text", "a value")


@SOME
@given(data=st.binary(max_size=300))
def test_any_bytes_by_any_reader_are_a_value_or_a_sentence(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "text.csv"
    path.write_bytes(data)
    for read, _, _, _ in ENTRANCES.values():
        told(read, path)
    told(read_json, path, "a value")
    told(read_yaml, path, "a value")


@SOME
@given(content=LABEL_LIKE | VALUES)
def test_any_value_as_a_label_file_is_a_space_or_a_sentence(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    told(LabelSpace.load, path)
