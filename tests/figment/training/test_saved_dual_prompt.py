import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from figment.clip.scorer import ClipConfig, clip_digest
from figment.errors import InputError
from figment.labels import Label, LabelSpace
from figment.training.dual_prompt import DualPromptConfig, Scorer, build_dual_prompts
from figment.training.saved_dual_prompt import (
    DeployableDualPrompts,
    DualPromptCard,
    load_dual_prompts,
    save_dual_prompts,
)

SPACE = LabelSpace(labels=(Label(name="dog"), Label(name="car"), Label(name="banana", unseen=True)))
TRAINING = DualPromptConfig(context=8, fusion_scale=0.1, device="cpu")


def save(folder: Path, clip: ClipConfig) -> torch.nn.Module:
    """A classifier whose contexts and branches are drawn, and of some effect."""
    torch.manual_seed(0)
    model = build_dual_prompts(TRAINING, clip, SPACE).eval()
    card = DualPromptCard(
        key="k", labels=SPACE, clip=clip, clip_digest=clip_digest(clip), image_size=32, training=TRAINING
    )
    save_dual_prompts(model, card, folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("classifier")


@pytest.fixture(scope="module")
def model(folder):
    return save(folder, ClipConfig(model="local-dir:models/pocket/clip"))


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randint(256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_loaded_classifier_gives_the_same_scores(model, folder, pixels):
    loaded, card = load_dual_prompts(folder)
    assert torch.equal(Scorer(loaded)(pixels), Scorer(model)(pixels))
    assert card.labels == SPACE
    assert (card.key, card.image_size, card.training) == ("k", 32, TRAINING)


def test_what_is_on_disk_is_what_was_learnt_and_no_clip(model, folder):
    weights = load_file(folder / "prompts.safetensors")
    assert {name for name in weights if name.startswith("prompts.")} == {"prompts.positive", "prompts.negative"}
    assert all(".branch." in name for name in weights if not name.startswith("prompts."))
    assert len(weights) == 2 + 3 * 8  # three branches: three convolutions and a norm each


def test_the_deployable_classifier_gives_the_same_scores_exported_too_in_any_batch(model, pixels):
    deployable = DeployableDualPrompts(model).eval()
    shapes = {"pixels": {0: torch.export.Dim("batch", min=1)}}
    exported = torch.export.export(deployable, (torch.rand(4, 3, 32, 32),), dynamic_shapes=shapes).module()
    expected = Scorer(model)(pixels)
    with torch.inference_mode():
        for form in (deployable, exported):
            for batch in (1, 3):
                scores = form(pixels[:batch].float() / 255)
                torch.testing.assert_close(scores, expected[:batch], atol=1e-5, rtol=1e-4)


def test_another_clip_than_it_learnt_on_is_refused(tmp_path):
    copy = tmp_path / "clip"
    shutil.copytree("models/pocket/clip", copy)
    save(tmp_path / "classifier", ClipConfig(model=f"local-dir:{copy}"))
    load_dual_prompts(tmp_path / "classifier")
    config = copy / "open_clip_config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(
        InputError, match=r"classifier: the prompts were learnt on another local-dir:.*; bring that one"
    ):
        load_dual_prompts(tmp_path / "classifier")
    shutil.rmtree(copy)
    with pytest.raises(InputError, match="learnt on another"):
        load_dual_prompts(tmp_path / "classifier")


def test_what_is_no_classifier_is_one_sentence(model, folder, tmp_path):
    with pytest.raises(InputError, match=r"no trained dual prompts in classifier\.json and prompts\.safetensors"):
        load_dual_prompts(tmp_path)
    shutil.copytree(folder, tmp_path / "damaged")
    card, weights = (tmp_path / "damaged" / name for name in ("classifier.json", "prompts.safetensors"))
    whole = load_file(weights)
    changed = {name: value for name, value in whole.items() if name != "prompts.negative"}
    for wrong in (changed, {**whole, "prompts.negative": torch.zeros(7, 128)}, {**whole, "more": torch.zeros(1)}):
        save_file(wrong, weights)
        with pytest.raises(InputError, match=r"prompts\.safetensors does not hold the weights that classifier\.json"):
            load_dual_prompts(tmp_path / "damaged")
    weights.write_bytes(b"junk")
    with pytest.raises(InputError, match="no trained dual prompts") as caught:
        load_dual_prompts(tmp_path / "damaged")
    assert "\n" not in str(caught.value)
    card.write_text(json.dumps({"key": "k"}))
    with pytest.raises(InputError, match="no trained dual prompts"):
        load_dual_prompts(tmp_path / "damaged")
