"""Contexts: one {name} each, whatever a model or a file says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.ops.environment import ROOT
from figment.prompts.chat import Answer, Chat, ChatConfig
from figment.prompts.contexts import (
    NAME,
    ContextConfig,
    ask_for_words,
    make_contexts,
    parse_contexts,
    parse_words,
    read_contexts,
    write_contexts,
)
from figment.prompts.instructions import context_instruction

POCKET = ChatConfig(model=str(ROOT / "models/pocket/chat"), max_new_tokens=160, device="cpu")
SPACE = LabelSpace.model_validate(
    {
        "labels": [
            {"name": "cell_phone", "synonyms": ["smartphone"]},
            {"name": "computer_mouse", "synonyms": ["mouse"]},
        ],
        "others": ["bench"],
    }
)
PHONE, MOUSE = SPACE.labels


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ("A red cell phone on a table", "A red {name} on a table"),
        ("cell phones in the rain", "{name} in the rain"),
        ("a photo of a smartphone at night", "a photo of a {name} at night"),
        ("a Cell-Phone's reflection", "a {name}'s reflection"),
        ("an old cell_phone", "an old {name}"),
    ],
)
def test_names_plurals_and_synonyms_become_one_name(said, context):
    assert parse_contexts(f"1. {said}", [PHONE], 3).prompts == [context]


def test_a_synonym_within_the_name_is_no_second_name():
    assert parse_contexts("1. a computer mouse on a desk\n2. two mice", [MOUSE], 3).prompts == [
        "a {name} on a desk",
        "two {name}",
    ]


def test_what_names_the_class_twice_or_not_at_all_is_dropped_with_its_reason():
    answer = (
        "1. a mouse beside a mouse\n2. a cat\n3. a {red} mouse\n4. a mouse at dusk\n5. A mouse at dusk!\n6. a mouse"
    )
    parsed = parse_contexts(answer, [MOUSE], 1)
    assert parsed.prompts == ["a {name} at dusk"]
    assert [drop.reason for drop in parsed.drops] == ["missing_label", "duplicate", "named_twice", "braces", "surplus"]


@given(st.text(max_size=300))
def test_every_context_of_any_answer_holds_one_name_and_no_other_brace(text):
    for context in parse_contexts(text + "\n1. a mouse " + text[:20], [MOUSE], 5).prompts:
        assert context.count(NAME) == 1
        assert not set("{}") & set(context.replace(NAME, ""))


def test_words_are_found_however_they_are_listed():
    for answer in (
        "Sure! Here are 3 places:\n1. kitchen\n2. St. Moritz\n3. mouse hole",
        "['kitchen', 'St. Moritz', 'mouse hole']",
        '["kitchen", "St. Moritz",\n"hole"]',
        "kitchen, St. Moritz, hole.",
        "- kitchen\n- St. Moritz\n- hole",
    ):
        assert parse_words(answer, MOUSE, 3) == ["kitchen", "St. Moritz", "hole"]


def test_a_list_that_is_code_is_not_run(tmp_path):
    answer = f"[__import__('pathlib').Path('{tmp_path}/ran').touch()] ['kitchen']"
    assert parse_words(answer, MOUSE, 3) == ["kitchen"]
    assert not (tmp_path / "ran").exists()


def test_the_pocket_model_writes_contexts_in_its_worlds_words(tmp_path):
    space = LabelSpace.load(ROOT / "configs/labels/pocket.yaml").choose(["teddy bear", "car"])
    contexts = make_contexts(space, ContextConfig(per_class=4, style="context", chat=POCKET), tmp_path)
    assert {name: len(found) for name, found in contexts.items()} == {"teddy bear": 4, "car": 4}
    for found in contexts.values():
        assert len(set(found)) == 4
        assert all(context.count(NAME) == 1 for context in found)
        assert any("background" in context or " the " in context for context in found)


def test_a_model_that_names_no_word_is_an_error_that_says_so(tmp_path):
    chat = Chat(POCKET, tmp_path)
    for what in ("adjectives", "settings"):
        question = chat._question(context_instruction("computer mouse", 2, what), 0)
        chat._keep(question, Answer("Sorry, I cannot help with that.", True, question.key))
    with pytest.raises(InputError, match="class 'computer_mouse': no usable word in 1 rounds"):
        ask_for_words(MOUSE, chat, 2, rounds=1)


def test_contexts_survive_the_csv_whatever_they_hold(tmp_path):
    contexts = {
        "cell_phone": ['a "smart" {name}; at night', "{name}, old"],
        "computer_mouse": ["a {name}\twith 'ears'"],
    }
    write_contexts(contexts, SPACE, tmp_path / "prompts.csv")
    assert (tmp_path / "prompts.csv").read_text().splitlines()[:2] == [
        "class_name;class_idx;prompt",
        'cell_phone;1;"a ""smart"" {name}; at night"',
    ]
    assert read_contexts(tmp_path / "prompts.csv", SPACE) == contexts


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["C"], exclude_characters="{}"), max_size=80), min_size=2, max_size=5
    )
)
def test_any_printable_context_round_trips(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("csv") / "prompts.csv"
    contexts = {name: [f"{text}{NAME}" for text in texts] for name in SPACE.names}
    write_contexts(contexts, SPACE, path)
    assert read_contexts(path, SPACE) == contexts


def write(tmp_path, text: str):
    path = tmp_path / "prompts.csv"
    path.write_text(text, encoding="utf-8")
    return path


ROWS = "class_name;class_idx;prompt\ncell phone;7;a {name}\nComputerMouse;8;a {name}\n"


def test_classes_of_a_file_go_by_their_names_and_others_are_passed_over(tmp_path):
    path = write(tmp_path, "\ufeff" + ROWS + "bench;1;a {name}\n\n")
    assert read_contexts(path, SPACE) == {"cell_phone": ["a {name}"], "computer_mouse": ["a {name}"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line is 'nothing'; expected class_name;class_idx;prompt"),
        ("name,prompt\n", "its first line is 'name,prompt'"),
        (ROWS + "cell_phone;1;a {name}; at night\n", "line 4: 4 fields; expected 3, with quotes"),
        (
            ROWS + "cell_phon;1;a {name}\n",
            "line 4: 'cell_phon' is not a known class; the nearest known names are cell_phone",
        ),
        (ROWS + "cell_phone;1;a phone\n", "line 4: prompt 'a phone'; it should hold {name} once"),
        (ROWS + "cell_phone;1;{name} by {name}\n", "it should hold {name} once"),
        (ROWS + "cell_phone;1;{name}{0.__class__}\n", "no other braces"),
        (ROWS + f"cell_phone;1;{{name}}{'x' * 400}\n", "line 4: the prompt has 406 characters, at most 400"),
        (ROWS + 'cell_phone;1;"a {name}" and\n', "not a CSV ("),
        ("class_name;class_idx;prompt\ncell phone;1;a {name}\n", "no prompt for computer_mouse; add a line for each"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        read_contexts(write(tmp_path, text), SPACE)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: not a readable CSV"):
        read_contexts(tmp_path / "none.csv", SPACE)


def test_contexts_come_from_a_model_a_file_or_templates():
    for options in ({}, {"chat": POCKET, "file": "x.csv"}, {"chat": POCKET, "templates": ("a {name}",)}):
        with pytest.raises(ValidationError, match="give one of chat, file and templates"):
            ContextConfig(**options)
    for template in ("a cup", "{name} by {name}", "{name} {x}"):
        with pytest.raises(ValidationError, match=r"should hold \{name\} once"):
            ContextConfig(templates=(template,))


def test_templates_are_every_classs(tmp_path):
    config = ContextConfig(templates=("a {name} at night", "a {name} on the grass"))
    contexts = make_contexts(SPACE, config, tmp_path)
    assert contexts == {name: ["a {name} at night", "a {name} on the grass"] for name in SPACE.names}


@pytest.mark.parametrize("style", ["context", "context_grammar", "context_uncommon", "adjectives", "settings"])
def test_every_instruction_says_the_class_and_the_number(style):
    text = context_instruction("teddy bear", 12, style)
    assert "teddy bear" in text
    assert "12" in text
