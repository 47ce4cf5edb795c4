"""What a later stage could not use is told by the first step, before a photo is looked at or a model is asked."""

from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from figment.errors import InputError
from figment.ops.pipelines import check_config
from figment.recipes.config import AnyRecipe
from pipelines.few_shot import few_shot
from pipelines.tailored import tailored
from steps.labels import choose_labels

CHAT = {"model": "models/pocket/chat", "device": "cpu"}
CONTEXTS = {
    "no such file": ({"file": "no/such.csv"}, r"no/such\.csv"),
    "a file of another kind": ({"file": "README.md"}, r"README\.md"),
    "a chat model that is not there": ({"chat": CHAT | {"model": "./models/none"}}, "models/none"),
    "a folder that is no chat model": ({"chat": CHAT | {"model": "models/pocket/clip"}}, "models/pocket/clip"),
    "a key that is not set": (
        {"chat": CHAT | {"base_url": "http://localhost:9/v1", "api_key_variable": "NO_SUCH_KEY"}}, "NO_SUCH_KEY is not set"
    ),
}  # fmt: skip


def first_step(pipeline, recipe: str, tmp_path: Path, **changes):
    """Run a pipeline's first step with its pocket config, some parameters changed."""
    config = yaml.safe_load(Path(f"configs/pocket/{recipe}.yaml").read_text())
    config["parameters"] |= {"output": str(tmp_path / "out"), **changes}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return choose_labels.entrypoint(
        TypeAdapter(AnyRecipe).validate_python(check_config(tmp_path / "config.yaml", pipeline.entrypoint))
    )


@pytest.mark.parametrize(("contexts", "found"), CONTEXTS.values(), ids=CONTEXTS)
def test_contexts_of_few_shot(tmp_path, monkeypatch, contexts, found):
    with pytest.raises(InputError, match=found) as caught:
        first_step(few_shot, "few_shot", tmp_path, prompts=contexts)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("contexts", "found"),
    [case for case in CONTEXTS.values() if "chat" in case[0]],
    ids=[n for n in CONTEXTS if "file" not in n],
)
def test_the_chat_model_of_tailored(tmp_path, contexts, found):
    with pytest.raises(InputError, match=found) as caught:
        first_step(tailored, "tailored", tmp_path, prompts=contexts)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_answers_that_were_kept_need_no_chat_model(tmp_path):
    (tmp_path / "out/answers/00").mkdir(parents=True)
    (tmp_path / "out/answers/00/0.json").write_text("{}")
    gone = CHAT | {"base_url": "http://localhost:9/v1", "api_key_variable": "NO_SUCH_KEY"}
    space, _ = first_step(tailored, "tailored", tmp_path, prompts={"chat": gone})
    assert len(space) > 2
