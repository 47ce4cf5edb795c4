"""Hypothesis spoils the configs of each kind of model: every fault is one sentence, whatever the value and wherever it is."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from figment.clip.scorer import ClipConfig, load_clip
from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.weights import check_generator
from figment.training.config import TrainingConfig
from figment.training.kinds.registry import open_model
from tests.faults.model_harm import CHAT, CLIP, GENERATOR
from tests.faults.test_model_chats import ask
from tests.faults.test_model_clips import SPACE
from tests.saved_models import save_timm

EXAMPLES = int(os.environ.get("FIGMENT_FUZZ_EXAMPLES", "5"))
OPENED = {
    "generator": lambda folder: check_generator(GeneratorConfig(model=str(folder)), ["frog"]),
    "clip": lambda folder: load_clip(ClipConfig(model=f"local-dir:{folder}"), ["frog"]),
    "chat": ask,
    "classifier": open_model,
}
FILES = {
    "generator": (
        "model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json",
        "tokenizer/tokenizer.json", "scheduler/scheduler_config.json",
    ),
    "clip": ("open_clip_config.json", "tokenizer_config.json", "tokenizer.json"),
    "chat": ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"),
    "classifier": ("model.json",),
}  # fmt: skip
WORDS = [
    "auto_map",
    "trust_remote_code",
    "evil.Evil",
    "../evil",
    "hf_hub:evil",
    "AutoModel",
    "float16",
    "<|endoftext|>",
    "",
]
LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 200) | st.integers() | st.sampled_from([2**31, 2**63, 10**30])
    | st.floats(allow_nan=False) | st.text(max_size=8) | st.sampled_from(WORDS)
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for name, source in (("generator", GENERATOR), ("clip", CLIP), ("chat", CHAT)):
        shutil.copytree(source, root / name)
    save_timm(root / "classifier", SPACE, TrainingConfig(model="test_resnet", image_size=16))
    return {name: root / name for name in OPENED}


def places(content: Any, path: tuple = ()) -> list[tuple]:
    """The way to every value of a JSON document; of long ones to the first few."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in list(inner)[:60] for place in places(value, (*path, key)))]


@st.composite
def spoilt(draw, whole: Any) -> str:
    """A document with one to three of its values replaced, removed or joined by others."""
    content = {"": copy.deepcopy(whole)}
    for _ in range(draw(st.integers(1, 3))):
        *outer, key = ("", *draw(st.sampled_from(places(content[""]))))
        place: Any = content
        for part in outer:
            place = place[part]
        how = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if how == "remove" and outer:
            del place[key]
        elif how == "add" and isinstance(place[key], dict):
            place[key][draw(st.text(max_size=8) | st.sampled_from(WORDS))] = draw(VALUES)
        else:
            place[key] = draw(VALUES)
    text = json.dumps(content[""])
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 19)) == 0 else text


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    derandomize="FIGMENT_FUZZ_EXAMPLES" not in os.environ,
)
@given(data=st.data())
def test_a_spoilt_config_is_one_sentence_or_opens(folders, kind, name, data):
    file, sentence = folders[kind] / name, ""
    whole = file.read_bytes()
    try:
        file.write_text(data.draw(spoilt(json.loads(whole))))
        OPENED[kind](folders[kind])
    except InputError as error:
        sentence = str(error)
    finally:
        file.write_bytes(whole)
        shutil.rmtree(folders[kind].parent / "cache", ignore_errors=True)  # of answers
    assert "\n" not in sentence
    assert len(sentence) < 1000
