"""Models in the cache of the hub: as those in folders."""

from pathlib import Path

import pytest

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.planning.generator_config import GeneratorConfig
from figment.prompts.chat import Chat, ChatConfig
from figment.synthesis.weights import check_generator
from tests.faults import model_harm as harms
from tests.faults.test_model_chats import CHAT_CODE
from tests.faults.test_model_clips import CLIP_CODE
from tests.faults.test_model_generators import GENERATOR_CODE

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(source: Path, cache: Path, harm, monkeypatch) -> Path:
    """A model in the hub's cache on disk, laid out as huggingface_hub does, under the name owner/name."""
    repository = cache / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    harm(folder := harms.copy(source, repository / "snapshots" / COMMIT))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return folder


HUB = {
    "generator": (harms.GENERATOR, lambda: check_generator(GeneratorConfig(model="owner/name"), ["frog"])),
    "clip": (harms.CLIP, lambda: ClipScorer(ClipConfig(model="hf-hub:owner/name"))),
    "chat": (harms.CHAT, lambda: Chat(ChatConfig(model="owner/name", max_new_tokens=2), Path("none"))._open_backend()),
}
HUB_HARM = {
    "generator": GENERATOR_CODE["custom_pipeline"],
    "clip": CLIP_CODE["trust_remote_code for the tokenizer"],
    "chat": CHAT_CODE["a model's own class"],
}


@pytest.mark.parametrize("kind", HUB)
def test_a_model_of_the_hub_runs_no_code_either(tmp_path, monkeypatch, kind):
    source, open_it = HUB[kind]
    folder = cached(source, tmp_path / "cache", HUB_HARM[kind], monkeypatch)
    harms.refused(open_it, folder, "owner/name" if kind == "chat" else COMMIT)


@pytest.mark.parametrize("kind", HUB)
def test_a_whole_model_of_the_hub_opens(tmp_path, monkeypatch, kind):
    source, open_it = HUB[kind]
    folder = cached(
        source,
        tmp_path / "cache",
        harms.edit("config.json") if kind == "chat" else harms.remove("evil.py"),
        monkeypatch,
    )
    open_it()
    assert not (folder.parent / "marker").exists()
