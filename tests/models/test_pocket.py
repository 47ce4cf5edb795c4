"""The shipped weights, loaded as a user's own models are, do what docs/pocket.md says of them (loosely bounded here)."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.labels import LabelSpace
from figment.prompts.instructions import pair_instruction
from pocket.artwork import OBJECTS
from pocket.config import MeasureConfig
from pocket.measure import Painter, photos, within_class_distance
from pocket.world import World

NAMES = list(OBJECTS)


@pytest.fixture(scope="module")
def scorer() -> ClipScorer:
    return ClipScorer(ClipConfig(model="local-dir:models/pocket/clip"))


def test_everything_together_is_small_and_safe():
    files = [path for path in Path("models/pocket").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 40e6
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}]


def test_clip_names_renders_of_the_art_it_learned_and_of_unseen_art(scorer):
    text = scorer.text_features(LabelSpace.of(NAMES))
    scores = {}
    for art in ("noto", "twemoji"):
        pixels, labels = photos(World([Path(f"data/artwork/{art}.parquet")], NAMES), "photo", seed=123)
        scores[art] = float((scorer.logits(pixels, text).argmax(1).cpu() == labels).float().mean())
    assert scores["noto"] > 0.9
    assert scores["twemoji"] > 0.75


def test_the_generator_paints_what_it_is_asked_for(scorer):
    painter = Painter(Path("models/pocket/diffusion"), 32, MeasureConfig())
    text = scorer.text_features(LabelSpace.of(NAMES))
    pixels = painter([f"a photo of a {name}" for name in NAMES for _ in range(3)], guidance=4.0)
    labels = torch.arange(len(NAMES)).repeat_interleave(3)
    assert float((scorer.logits(pixels, text).argmax(1).cpu() == labels).float().mean()) > 0.9
    features = scorer.image_features(pixels).cpu()
    assert within_class_distance(features, labels) > 0.02  # three draws are three images


def test_the_chat_model_answers_the_projects_instruction():
    tokenizer = AutoTokenizer.from_pretrained("models/pocket/chat")
    model = AutoModelForCausalLM.from_pretrained("models/pocket/chat", dtype=torch.float32)
    talk = [{"role": "user", "content": pair_instruction(["dog", "car"], 5)}]
    inputs = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, max_new_tokens=160, do_sample=False)
    answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    lines = [line for line in answer.splitlines() if line[:1].isdigit()]
    assert len(lines) >= 4
    assert sum("dog" in line and "car" in line for line in lines) >= 3
