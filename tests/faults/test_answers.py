"""What chat models answer: of what looks like JSON only whole texts become prompts, and nothing that a model writes escapes."""

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.labels import Label, LabelSpace
from figment.prompts.book import ask_for_prompts
from figment.prompts.chat import Answer, Chat, ChatConfig
from figment.prompts.contexts import parse_contexts, parse_words
from figment.prompts.parsing import MAX_PROMPT_LENGTH, Drop, parse_response

DOG_BUS = (Label(name="dog"), Label(name="bus"))
A, B = "A dog sleeps next to a red bus.", "Two dogs chase the buses of London."
EXAMPLES = int(os.environ.get("FIGMENT_FUZZ_EXAMPLES", "200"))

REPAIRED = {
    "trailing comma": '["{0}", "{1}", ]',
    "trailing comma at once": '["{0}", "{1}",]',
    "trailing comma in lines": '[\n  "{0}",\n  "{1}",\n]',
    "trailing comma in an object": '{"prompts": ["{0}", "{1}",],}',
    "trailing commas in objects": '[{"caption": "{0}",}, {"caption": "{1}",},]',
    "single quotes": "['{0}', '{1}']",
    "single quotes in an object": "{'prompts': ['{0}', '{1}']}",
    "mixed quotes": "['{0}', \"{1}\"]",
    "curly quotes": "[“{0}”, “{1}”]",
    "bare keys": '{prompts: ["{0}", "{1}"]}',
    "numbered keys": "{1: \"{0}\", 2: '{1}'}",
    "words of Python": "[{'caption': '{0}', 'ok': True}, {'caption': '{1}', 'ok': None}]",
    "no comma between lines": '[\n"{0}"\n"{1}"\n]',
    "no comma between objects": '[{"caption": "{0}"} {"caption": "{1}",}]',
    "cut behind a comma": '["{0}", "{1}",',
    "cut in a text": '["{0}", "{1}", "A third dog on a b',
    "cut in a text of lines": '[\n"{0}",\n"{1}",\n"A third dog on a b',
    "cut at a quote": '["{0}", "{1}", "',
    "cut in an object": '[{"caption": "{0}"}, {"caption": "{1}"}, {"caption": "A dog',
    "cut at a key": '[{"caption": "{0}"}, {"caption": "{1}"}, {"capt',
    "cut at a colon": '[{"caption": "{0}"}, {"caption": "{1}"}, {"caption":',
    "cut in the list of an object": '{"prompts": ["{0}", "{1}", "A dog and',
    "a fence": '```json\n["{0}", "{1}", ]\n```',
    "a fence on one line": '```["{0}", "{1}", ]```',
    "a sentence before": 'Here are the prompts: ["{0}", "{1}", ]',
    "a sentence after": '["{0}", "{1}",]\n\nI hope that the dog and the bus help!',
    "thinking before": '<think>["A dog on a bus.", ]</think>["{0}", "{1}", ]',
    "no brackets": '"{0}", "{1}"',
    "two lists": '["{0}",]\n["{1}",]',
    "numbered lists": '1. ["{0}",]\n2. ["{1}",]',
    "number first": '[1, "{0}", "{1}",]',
    "escapes": '["A \\u0064og sleeps next to a red bus.", "{1}", ]',
}
BROKEN = {
    "each lacks a label": '["A dog.", "A bus."]',
    "each lacks a label, with a comma": '["A dog.", "A bus.", ]',
    "a label a key": '{"dog": "A dog.", "bus": "A bus.",}',
    "two commas": '["A dog on a bus.",, "A dog by a bus."]',
    "wrong bracket": '["A dog on a bus.", "A dog by a bus."}',
    "wrong inner bracket": '{"prompts": ["A dog on a bus."}]',
    "a quote too few": '["A dog on a bus, "A dog by a bus."]',
    "no quotes at the second": '["A dog on a bus.", A dog by a bus.]',
    "a call": '["A dog on a bus.", print("A dog by a bus.")]',
    "escaped quotes": '[\\"A dog on a bus.\\", \\"A dog by a bus.\\"]',
    "a list as a text": '"[\\"A dog on a bus.\\", \\"A dog by a bus.\\"]"',
    "quotes and commas within": '["A sign says "Dog", near a bus.", "A dog by a bus."]',
    "no quote at all but one": '["A dog on a bus. A dog by a bus.]',
    "a line break in a text": '["A dog on\na bus., A dog by a bus.]',
    "a comment": '["A dog on a bus.", // a dog by a bus\n"A dog."]',
    "cut in the first": '["A dog on a bu',
    "an object cut": '{"prompts": ["A dog on a bu',
    "a key alone": '{"a dog on a bus"}',
    "colons": '{"a": "dog": "bus"}',
    "two texts": '"A dog", "and a bus',
}
LENGTHS = {
    "brackets": "[" * 50_000,
    "opened texts": '["' * 50_000,
    "opened texts in lines": 'x ["\n' * 5_000,
    "objects": '{"a":' * 50_000,
    "quotes": '"' * 50_000,
    "quotes and commas": '"a", ' * 50_000,
    "escapes": '["' + "\\" * 100_000,
    "spaces": "[" + " " * 100_000 + '"',
    "braces and spaces": "{ \n" * 20_000,
    "one long text": '["' + "dog bus " * 50_000 + '", ]',
    "thinking": "<think>" * 20_000,
    "words": "{" + "a" * 100_000,
    "numbers": "[" + "1" * 100_000 + ', "a",]',
}


@pytest.mark.parametrize("answer", REPAIRED.values(), ids=REPAIRED)
def test_json_with_a_common_fault_gives_its_whole_texts(answer):
    parsed = parse_response(answer.replace("{0}", A).replace("{1}", B), DOG_BUS, 10)
    assert parsed.prompts == [A, B]


@pytest.mark.parametrize("answer", REPAIRED.values(), ids=REPAIRED)
def test_a_count_of_one_takes_the_first(answer):
    assert parse_response(answer.replace("{0}", A).replace("{1}", B), DOG_BUS, 1).prompts == [A]


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_what_looks_like_json_is_never_one_prompt(answer):
    parsed = parse_response(answer, DOG_BUS, 10)
    assert parsed.prompts == []
    assert parsed.drops


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_lines_after_broken_json_still_count(answer):
    assert parse_response(f"{answer}\n\n1. {A}\n2. {B}", DOG_BUS, 10).prompts == [A, B]


def test_broken_json_is_a_drop_by_that_name():
    assert parse_response(BROKEN["two commas"], DOG_BUS, 10).drops == [Drop(BROKEN["two commas"], "broken_json")]


@pytest.mark.parametrize("text", LENGTHS.values(), ids=LENGTHS)
def test_any_length_is_parsed_at_once(text):
    start = time.monotonic()
    parsed = parse_response(f"{text}\n\n1. {A}", DOG_BUS, 10)
    assert time.monotonic() - start < 10
    assert parsed.prompts in ([A], [])
    parse_words(text, DOG_BUS[0], 10)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("['sunny', \"rainy\",]", ["sunny", "rainy"]),
        ("[sunny, rainy]", ["[sunny", "rainy]"]),
        ('["sunny", "rai', ["sunny"]),
        ("<think>['no']</think>['sunny']", ["sunny"]),
        ("[" + "(" * 5_000 + "'a'" + ")" * 5_000 + "]", []),
    ],
    ids=["mixed", "bare", "cut", "thinking", "deep"],
)
def test_words(answer, words):
    assert parse_words(answer, DOG_BUS[0], 10) == words


class Scripted:
    """Gives the scripted answers in turn; what stands behind a chat is not what these tests are about."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def answers(self, questions):
        for question in questions:
            yield Answer(*self.texts.pop(0), question.key)


def test_broken_json_is_asked_for_again(tmp_path):
    chat = Chat(ChatConfig(model="m", base_url="http://127.0.0.1:9/v1"), tmp_path)
    chat._backend = Scripted((BROKEN["two commas"], True), (f'["{A}", "{B}",]', True))
    book = ask_for_prompts([LabelSpace.of(["dog", "bus"]).labels], chat, 2)
    assert [prompt.text for prompt in book.prompts] == [A, B]
    assert book.drops == {"broken_json": 1}


@pytest.mark.parametrize(
    "text", [f'["{A}", "A dog on the b', f'{{"prompts": ["{A}", "A dog on a b', f"1. {A}\n2. A dog on a b"]
)
def test_of_an_answer_that_was_cut_the_whole_texts_count(tmp_path, text):
    chat = Chat(ChatConfig(model="m", base_url="http://127.0.0.1:9/v1"), tmp_path)
    chat._backend = Scripted((text, False))
    book = ask_for_prompts([LabelSpace.of(["dog", "bus"]).labels], chat, 1)
    assert [prompt.text for prompt in book.prompts] == [A]


PIECES = [
    '"',
    "'",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\n",
    " ",
    "\\",
    "“",
    "”",
    "1. ",
    "- ",
    "```",
    "<think>",
    "</think>",
    "dog",
    "bus",
]
PIECES += [
    A,
    B,
    f'"{A}"',
    f"'{B}'",
    "caption",
    "null",
    "True",
    "-1.5",
    "\\u00e9",
    "\ud800",
    "\u202e",
    "//",
    "(",
    ")",
    "|",
    "**",
]


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(), st.integers(0, 5))
def test_whatever_a_model_writes_becomes_bounded_prompts_and_drops(text, count):
    for parsed in (parse_response(text, DOG_BUS, count), parse_contexts(text, DOG_BUS[:1], count)):
        assert len(parsed.prompts) <= count
        for prompt in parsed.prompts:
            assert len(prompt) <= MAX_PROMPT_LENGTH
            assert "\n" not in prompt
            assert '", "' not in prompt
    assert len(parse_words(text, DOG_BUS[0], count)) <= count


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from([A, B, 'A dog reads "Bus".', "The dog's bus, a red one."]), unique=True), st.data())
def test_a_list_cut_anywhere_gives_whole_texts_alone(texts, data):
    answer = json.dumps(texts)
    cut = answer[: data.draw(st.integers(0, len(answer)))]
    prompts = parse_response(cut, DOG_BUS, 10).prompts
    assert prompts == texts[: len(prompts)]
