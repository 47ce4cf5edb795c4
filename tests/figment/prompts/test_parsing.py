"""The parser on answers of a real chat model (Llama-2-7b-chat, two ways of cleaning) and on every common style."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.labels import Label
from figment.prompts.naming import naming_pattern
from figment.prompts.parsing import MAX_PROMPT_LENGTH, parse_response

DOG_BUS = ("dog", "bus")
ONE, TWO = "A dog sleeps next to a red bus.", "Two dogs chase the buses of London."


@pytest.fixture(scope="module")
def raw_answers(llm_responses_folder) -> list[dict]:
    return read(llm_responses_folder / "nus_pairs.jsonl")


@pytest.fixture(scope="module")
def cleaned_answers(llm_responses_folder) -> list[dict]:
    return read(llm_responses_folder / "coco_pairs.jsonl")


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def names_all(line: str, labels: list[str]) -> bool:
    """What usable means, said independently of the parser: every label as a word, plural or not, written out by hand."""
    words = f" {re.sub('[^a-z]+', ' ', line.lower())} "
    irregular = {
        "person": ["people"],
        "leaf": ["leaves"],
        "knife": ["knives"],
        "scissors": ["scissors"],
        "bus": ["buses"],
    }
    for label in labels:
        stem = label[:-1] if label.endswith("s") and label not in {"bus", "grass", "scissors", "fox"} else label
        forms = [label, stem, stem + "s", stem + "es", stem.removesuffix("y") + "ies", *irregular.get(label, [])]
        if not any(f" {form} " in words for form in forms):
            return False
    return True


def test_of_raw_answers_all_usable_prompts_are_recovered_and_no_chat_is(raw_answers):
    usable = recovered = 0
    for answer in raw_answers:
        prompts = parse_response(answer["response"], answer["labels"], 10).prompts
        lines = re.findall(r"^\s*\d+\. *(.*\S)", answer["response"], re.MULTILINE)
        expected = {line for line in lines if names_all(line, answer["labels"])}
        usable += len(expected)
        recovered += len(expected & set(prompts))
        assert set(prompts) <= {line.strip(' ,"') for line in lines} | set(lines)  # nothing that was not in the list
        assert all(names_all(prompt, answer["labels"]) for prompt in prompts)
    assert usable > 8500
    assert recovered / usable >= 0.99


def test_of_hand_cleaned_answers_all_usable_lines_are_recovered(cleaned_answers):
    usable = recovered = 0
    for answer in cleaned_answers:
        prompts = parse_response(answer["response"], answer["labels"], 10).prompts
        expected = {line.strip() for line in answer["response"].splitlines() if names_all(line, answer["labels"])}
        usable += len(expected)
        recovered += len(expected & set(prompts))
    assert usable > 1100
    assert recovered / usable >= 0.99


def test_every_piece_of_a_real_answer_is_kept_or_dropped_for_a_reason(raw_answers):
    for answer in raw_answers[::7]:
        parsed = parse_response(answer["response"], answer["labels"], 10)
        pieces = [line for line in answer["response"].splitlines() if line.strip()]
        assert len(parsed.prompts) + len(parsed.drops) == len(pieces)


def test_synonyms_recover_prompts_that_never_say_the_name(cleaned_answers):
    dog = Label(name="dog", synonyms=("puppy", "beagle", "labrador retriever", "dachshund"))
    gained = 0
    for answer in cleaned_answers:
        if "dog" in answer["labels"]:
            plain = parse_response(answer["response"], answer["labels"], 10).prompts
            rich = parse_response(answer["response"], [dog if x == "dog" else x for x in answer["labels"]], 10).prompts
            assert set(plain) <= set(rich)
            gained += len(rich) - len(plain)
    assert gained > 20


@pytest.mark.parametrize(
    "answer",
    [
        "{0}\n{1}",
        "1. {0}\n2. {1}",
        "1) {0}\n2) {1}",
        "(1) {0}\n(2) {1}",
        "[1] {0}\n[2] {1}",
        "#1 - {0}\n#2 - {1}",
        "1: {0}\n2: {1}",
        "1 - {0}\n2 - {1}",
        "1.{0}\n2.{1}",
        "Prompt 1: {0}\nPrompt 2: {1}",
        "**Prompt 1:** {0}\n\n**Prompt 2:** {1}",
        "**1.** {0}\n**2.** {1}",
        "1. **{0}**\n2. *{1}*",
        "1. `{0}`\n2. __{1}__",
        "- {0}\n- {1}",
        "* {0}\n* {1}",
        "• {0}\n• {1}",
        "- 1. {0}\n- 2. {1}",
        "> 1. {0}\n> 2. {1}",
        '1. "{0}"\n2. “{1}”',
        "1. '{0}'\n2. «{1}»",
        '"1. {0}"\n"2. {1}"',
        '["{0}", "{1}"]',
        '```json\n[\n  "{0}",\n  "{1}"\n]\n```',
        '["1. {0}", "2. {1}"]',
        '{"captions": ["{0}", "{1}"]}\n\nThese captions show a dog and a bus [as asked].',
        '{"1": "{0}", "2": "{1}"}',
        '[{"id": 1, "caption": "{0}"}, {"id": 2, "caption": "{1}"}]',
        '```json\n[{"title": "A dog and a bus", "caption": "{0}", "labels": ["dog", "bus"]}, {"caption": "{1}"}]\n```',
        '{"caption": "{0}"}\n{"caption": "{1}"}',
        '[\n  {"caption": "{0}"},\n  {"caption": "{1}"},\n  {"capt',
        '{\n  "captions": [\n    "{0}",\n    "{1}",\n    "A do',
        '1. ["{0}"]\n2. ["{1}"]',
        'The words are ["dog", "bus"].\n1. {0}\n2. {1}',
        "1. {0} 2. {1}",
        "Sure! Here are two captions: 1. {0} 2. {1}",
        "### 1. {0}\n### 2. {1}",
        "### Caption 1\n\n{0}\n\n### Caption 2\n\n{1}",
        "**Caption 1:**\n> {0}\n\n**Caption 2:**\n> {1}",
        "**Caption 1** {0}\n**Caption 2** {1}",
        "1. **On the road:** {0}\n2. **Dog and bus** – {1}",
        "1. *On the road*: {0}\n2. *In town*: {1}",
        "**1. On the road**\n{0}\n\n**2. In town**\n{1}\n\nI hope you like the dog and the bus.",
        "1. **On the road**\n   - {0}\n2. **In town**\n   - {1}",
        "<ol>\n<li>{0}</li>\n<li>{1}</li>\n</ol>",
        "<ul><li><b>{0}</b></li><li>{1}</li></ul><p>A dog and a bus.</p>",
        "<caption>{0}</caption>\n<caption>{1}</caption>",
        "| 1 | {0} |\n| 2 | {1} |",
        "| # | Title | Caption of a dog and a bus |\n|---|:-:|---|\n| 1 | A dog, a bus | {0} |\n| 2 | Bus | {1} |",
        "| {0} |\n| {1} |",
        "1 | {0}\n2 | {1}",
        "1/ {0}\n2/ {1}",
        "1\\. {0}\n2\\. {1}",
        "1- {0}\n2- {1}",
        "-1. {0}\n-2. {1}",
        "No. 1: {0}\nNo. 2: {1}",
        "Scene #1: {0}\nScene #2: {1}",
        "a) {0}\nb) {1}",
        "(A) {0}\n(B) {1}",
        "i. {0}\nii. {1}",
        "① {0}\n② {1}",
        "1️⃣ {0}\n2️⃣ {1}",
        "+ {0}\n+ {1}",
        "-> {0}\n-> {1}",
        "→ {0}\n→ {1}",
        "- [ ] {0}\n- [ ] {1}",
        "✅ {0}\n✅ {1}",
        "🎨 Here are the captions for you:\n\n🐶 {0} 🚌\n🐶 {1} 🚌",
        "1. {0} (8 words)\n2. {1} (7 words)",
        "**Prompt one:** {0}\n**Prompt two:** {1}",
        "1. {0}\n2. {1}<|im_end|>",
        "1. {0}\n2. {1}</s>",
        "A dog and a bus, so\n1. a dog by a bus.\n</think>\n\n1. {0}\n2. {1}",
        "[THINK]A dog by a bus?[/THINK]{0}\n{1}",
        "<|channel|>analysis<|message|>A dog by a bus.<|end|><|channel|>final<|message|>{0}\n{1}",
        "1. {0}\r\n2. {1}\r\n",
        "1. {0}\r\r\n2. {1}\r\r\n",
        "\ufeff1. {0}\n\u200b2. {1}",
        "  1.   {0}  \n\n\n\t2.\t{1}\t",
        "1.\n{0}\n2.\n{1}",
        "<think>1. A dog? No, a bus and a dog.\n</think>1. {0}\n2. {1}",
        " Of course! Here are 2 different phrases that contain both \"a dog\" and \"a bus\":\n1. {0}\n2. {1}\n\n"
        "I hope these phrases about the dog and the bus help! Let me know.",
        "Sure, here are 2 captions of a dog and a bus:\n{0}\n{1}\nEach caption names a dog and a bus.",
        "Here you go:\n\n## Captions of a dog and a bus\n\n- {0}\n- {1}\n\nWould you like more of the dog and the bus?",
    ],
)  # fmt: skip
def test_every_common_style_gives_the_same_two_prompts(answer):
    text = answer.replace("{0}", ONE).replace("{1}", TWO)
    assert parse_response(text, DOG_BUS, 10).prompts == [ONE, TWO]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("A cat sleeps next to a bus.", "missing_label"),
        ("A hotdog stand next to a bus.", "missing_label"),
        ("I'm sorry, a dog next to a bus is too dangerous.", "chat"),
        ("Here is the caption of a dog and a bus you wanted.", "chat"),
        (ONE.upper(), "duplicate"),
        ("A dog and a bus" + " and a dog" * 60, "too_long"),
        ("***", "empty"),
    ],
)
def test_every_drop_has_its_reason(line, reason):
    parsed = parse_response(f"1. {ONE}\n2. {line}", DOG_BUS, 10)
    assert parsed.prompts == [ONE]
    assert [drop.reason for drop in parsed.drops] == [reason]


@pytest.mark.parametrize(
    "line",
    [
        "Below are the dog and bus captions.",
        "These dog and bus images are perfect for you.",
        "You can use a dog and a bus.",
        "Your dog and bus captions are above.",
        "If you like, a dog and a bus can be in a park.",
        "Okay, the user wants a dog and a bus.",
        "The user wants a dog and a bus.",
        "Let's see a dog and a bus.",
        "First, a dog and a bus must be seen.",
        "In each caption a dog and a bus are named.",
        "(Note: a dog and a bus are in each.)",
        "**Tip:** name the dog and the bus.",
        "**Dog and Bus Captions**",
        "Captions for a dog and a bus",
    ],
)
def test_chat_around_a_list_without_numbers_is_no_prompt(line):
    for text in (f"{ONE}\n{TWO}\n\n{line}", f"{line}\n\n{ONE}\n{TWO}"):
        parsed = parse_response(text, DOG_BUS, 10)
        assert parsed.prompts == [ONE, TWO]
        assert [drop.reason for drop in parsed.drops] == ["chat"]


@pytest.mark.parametrize(
    "line",
    [
        "Above the bus a dog hovers in the sky",
        "Scenes of a dog on a bus",
        "So many dogs, one bus",
        "The first dog on the bus",
        "A dog in your bus",
        "3-wheeled bus with a dog",
        "2 dogs and 1 bus",
        "A **dog** - and a cat - on a bus",
        "Paint of a dog → a bus",
    ],
)
def test_what_looks_like_chat_or_a_number_and_is_none_is_a_prompt(line):
    assert parse_response(f"{ONE}\n{line}\n{TWO}", DOG_BUS, 10).prompts == [ONE, re.sub("→ |[*]", "", line), TWO]


def test_a_run_on_answer_of_any_length_is_split():
    text = " ".join(f"{i}. Dog number{i} on a bus." for i in range(1, 1000))
    assert parse_response(text, DOG_BUS, 2000).prompts == [f"Dog number{i} on a bus." for i in range(1, 1000)]


@pytest.mark.parametrize("deep", ["[" * 20_000, '{"a":' * 20_000, '["a", ' + "[" * 20_000 + "]" * 20_000 + ', "b"]'])
def test_json_of_any_depth_does_no_harm(deep):
    assert parse_response(f"{deep}\n1. {ONE}", DOG_BUS, 10).prompts == [ONE]


def test_more_than_was_asked_for_is_surplus():
    parsed = parse_response(f"1. {ONE}\n2. {TWO}\n3. A third dog in a third bus.", DOG_BUS, 2)
    assert parsed.prompts == [ONE, TWO]
    assert parsed.drops == [("A third dog in a third bus.", "surplus")]


def test_lines_outside_a_numbered_list_are_no_prompts():
    parsed = parse_response(f"A dog and a bus, ten times over.\n1. {ONE}", DOG_BUS, 10)
    assert parsed.prompts == [ONE]
    assert parsed.drops[0].reason == "not_listed"


def test_a_wrapped_item_is_one_prompt():
    text = "1. A dog sleeps\n   next to a red bus.\n2. Two dogs chase the buses\nof London."
    assert parse_response(text, DOG_BUS, 10).prompts == [ONE, TWO]


def test_inner_quotes_belong_to_the_prompt():
    line = 'A dog reads "Bus" on the bus that says "Stop."'
    assert parse_response(f"1. {line}", DOG_BUS, 10).prompts == [line]
    assert parse_response("1. 'The dog's bus.'\n2. 'A dog' on 'a bus'", DOG_BUS, 10).prompts == [
        "The dog's bus.",
        "'A dog' on 'a bus'",
    ]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("leaf", "autumn leaves"), ("knife", "two knives"), ("person", "People wait"), ("persons", "a person"),
        ("horses", "a horse"), ("cityscape", "cityscapes"), ("traffic light", "a traffic-light"),
        ("traffic_light", "Traffic lights"), ("couch", "couches"), ("puppy", "puppies"), ("buses", "a bus"),
        ("mouse", "mice"), ("wolves", "the wolf"), ("boxes", "a box"), ("bus", "the bus's door"), ("surf", "big surf"),
    ],
)  # fmt: skip
def test_a_label_is_named_in_either_number(label, text):
    assert naming_pattern(label).search(text)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("cat", "a catalogue"),
        ("sun", "at sunset"),
        ("bus", "a bu"),
        ("tie", "tied up"),
        ("glass", "a gla"),
        ("dog", "dög"),
    ],
)
def test_a_label_is_not_named_by_part_of_a_word(label, text):
    assert not naming_pattern(label).search(text)


@given(st.text(max_size=300), st.integers(0, 5))
def test_whatever_a_model_writes_comes_back_bounded_clean_and_on_topic(text, count):
    parsed = parse_response(text + f"\n1. {ONE}\n" + text, DOG_BUS, count)
    assert len(parsed.prompts) <= count
    for prompt in parsed.prompts:
        assert len(prompt) <= MAX_PROMPT_LENGTH
        assert "\n" not in prompt
        assert "dog" in prompt.casefold()
        assert "bus" in prompt.casefold()


@given(st.lists(st.sampled_from([ONE, TWO, "A bus for dogs.", "The dog that drove a bus!"]), unique=True, min_size=1))
def test_numbered_prompts_come_back_in_their_order(prompts):
    text = "\n".join(f"{i}. {prompt}" for i, prompt in enumerate(prompts, 1))
    assert parse_response(text, DOG_BUS, 10).prompts == prompts
