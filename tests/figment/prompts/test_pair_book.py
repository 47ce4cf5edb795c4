import pytest
from pydantic import ValidationError

from figment.labels import LabelSpace
from figment.prompts.chat import ChatConfig
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
    with pytest.raises(ValidationError, match="per_pair 4 without a chat model; the template is one prompt a pair"):
        PairPromptConfig(per_pair=4)
    assert PairPromptConfig(per_pair=1).chat is None
