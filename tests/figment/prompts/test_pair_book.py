import pytest
from pydantic import ValidationError

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.prompts.chat import Answer, Chat, ChatConfig
from figment.prompts.instructions import pair_instruction
from figment.prompts.pair_book import PairPromptConfig, describe, write_pair_prompts

CHAT = ChatConfig(model="models/pocket/chat", max_new_tokens=160, device="cpu")
SPACE = LabelSpace.model_validate(
    {
        "labels": [{"name": "dog"}, {"name": "pizza"}, {"name": "keyboard", "prompt_name": "computer keyboard"}],
        "confusable": [["dog", "pizza"]],
    }
).checked()
SETS = [("dog",), ("dog", "keyboard"), ("pizza",), ("pizza", "keyboard"), ("keyboard",)]


def test_the_template_asks_for_each_pair_and_each_class_alone_by_the_names_that_prompts_say(tmp_path):
    book = write_pair_prompts(SPACE, PairPromptConfig(), tmp_path)
    assert [prompt.labels for prompt in book.prompts] == SETS
    assert [prompt.text for prompt in book.prompts][:2] == [
        "a photo of a dog",
        "a photo of a dog next to a computer keyboard",
    ]
    assert describe(book) == {"alone": 3, "pairs": 2, "short": 0}
    assert not list(tmp_path.iterdir())


def test_a_chat_model_writes_several_for_each_and_its_answers_are_kept(tmp_path):
    space = SPACE.choose(["dog", "pizza"])
    config = PairPromptConfig(chat=CHAT, per_pair=3, instruction="pair")
    book = write_pair_prompts(space, config, tmp_path)
    assert {prompt.labels for prompt in book.prompts} == {("dog",), ("pizza",)}  # the pair is confusable
    assert len(book.prompts) + sum(3 - found for found in book.short.values()) == 2 * 3
    assert all(name in prompt.text for prompt in book.prompts for name in prompt.labels)
    assert {prompt.source for prompt in book.prompts} <= {file.stem for file in tmp_path.rglob("*") if file.is_file()}
    said = describe(book)
    assert said["alone"] == len(book.prompts)
    assert said["short"] == len(book.short)
    assert {name: n for name, n in said.items() if name.startswith("dropped/")} == {
        f"dropped/{reason}": n for reason, n in book.drops.items()
    }


def told(tmp_path, answers: dict[tuple[str, ...], str]) -> PairPromptConfig:
    """A model that has said ``answers`` once, by the names in the question."""
    chat = Chat(CHAT, tmp_path)
    for names, text in answers.items():
        question = chat._question(pair_instruction(names, 2), 0)
        chat._keep(question, Answer(text, True, question.key))
    return PairPromptConfig(chat=CHAT, per_pair=2, rounds=1, instruction="pair")


def test_a_pair_for_which_the_model_wrote_nothing_usable_has_the_template_and_is_named(tmp_path, caplog):
    config = told(
        tmp_path,
        {
            ("dog",): "1. A dog.\n2. Dogs.",
            ("dog", "computer keyboard"): "1. A cat.\n2. A bus.",
            ("pizza",): "1. A pizza.",
            ("pizza", "computer keyboard"): "1. A pizza and a keyboard.",
            ("computer keyboard",): "I cannot help with that.",
        },
    )
    book = write_pair_prompts(SPACE, config, tmp_path)
    assert [(prompt.labels, prompt.text, prompt.trick) for prompt in book.prompts] == [
        (("dog",), "A dog.", "language_model"),
        (("dog",), "Dogs.", "language_model"),
        (("dog", "keyboard"), "a photo of a dog next to a computer keyboard", "template"),
        (("pizza",), "A pizza.", "language_model"),
        (("pizza", "keyboard"), "A pizza and a keyboard.", "language_model"),
        (("keyboard",), "a photo of a computer keyboard", "template"),
    ]
    assert [prompt.source for prompt in book.prompts if prompt.trick == "template"] == ["template"] * 2
    assert book.short == {("dog", "keyboard"): 0, ("pizza",): 1, ("pizza", "keyboard"): 1, ("keyboard",): 0}
    (record,) = caplog.records
    assert record.getMessage() == (
        "models/pocket/chat wrote no usable prompt for 2 of 5 pairs, which have the template's instead: "
        "dog + keyboard, keyboard"
    )


def test_a_class_that_the_model_never_names_is_an_error_and_no_template(tmp_path):
    config = told(tmp_path, {("dog",): "1. A dog.\n2. Dogs.", ("pizza",): "1. A cat."})
    with pytest.raises(InputError, match="class 'pizza': no usable prompt in 1 rounds"):
        write_pair_prompts(SPACE.choose(["dog", "pizza"]), config, tmp_path)


def test_the_longer_instruction_is_the_papers(tmp_path):
    """Another question, so another answer's hash."""
    config = PairPromptConfig(chat=CHAT, per_pair=1, instruction="pair", rounds=1)
    space = SPACE.choose(["dog", "pizza"])
    sources = {}
    for instruction in ("pair", "scene"):
        write_pair_prompts(space, config.model_copy(update={"instruction": instruction}), tmp_path / instruction)
        sources[instruction] = {file.name for file in (tmp_path / instruction).rglob("*") if file.is_file()}
    assert not sources["pair"] & sources["scene"]


def test_several_prompts_a_pair_need_a_chat_model():
    with pytest.raises(
        ValidationError, match="per_pair 4 without a chat model or a file; the template is one prompt a pair"
    ):
        PairPromptConfig(per_pair=4)
    assert PairPromptConfig(per_pair=1).chat is None
