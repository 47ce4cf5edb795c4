"""Trained models, and what their cards name: none runs code, and every fault is one sentence."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from figment.cli import main
from figment.clip.label_vectors import LabelVectors
from figment.clip.scorer import ClipConfig, clip_digest
from figment.labels import LabelSpace
from figment.training.config import BackboneConfig, SemanticConfig, TrainingConfig
from figment.training.dual_prompt import DualPromptConfig
from tests.faults import model_harm as harms
from tests.faults.test_model_clips import CLIP_CODE
from tests.saved_models import save_dual_prompts, save_head, save_matrix, save_timm

SPACE = LabelSpace.of(["cat", "dog", "frog"])
TRAINING = TrainingConfig(model="test_resnet", image_size=16)


WEIGHTS, CARD = "model.safetensors", "model.json"
CLASSIFIER_FAULTS = {
    **{f"card: {name}": harms.text(CARD, content) for name, content in harms.ODD_JSON.items()},
    "card without labels": harms.edit(CARD, labels=...),
    "labels as numbers": harms.edit(CARD, labels__labels=[1, 2]),
    "model of the hub": harms.edit(CARD, settings__model="hf_hub:evil/evil"),
    "model in a folder": harms.edit(CARD, settings__model="local-dir:evil"),
    "another model": harms.edit(CARD, settings__model="test_vit"),
    "pickled weights": harms.pickled(WEIGHTS, "model.bin"),
    "a pickle called safetensors": harms.both(
        harms.pickled(WEIGHTS, "x.bin"), lambda f: (f / "x.bin").rename(f / WEIGHTS)
    ),
    "no weights": harms.remove(WEIGHTS),
    "weights cut short": harms.cut(WEIGHTS),
    "weights with NaN": harms.tensors(WEIGHTS, harms.not_a_number),
    "weights without a tensor": harms.tensors(WEIGHTS, harms.one_less),
    "weights with another": harms.tensors(WEIGHTS, lambda found: found.update(evil=torch.zeros(1))),
    "weights of another shape": harms.tensors(WEIGHTS, harms.other_shape),
}


def predict(folder: Path, capsys) -> str:
    """What the command says of an image, once it has refused the model."""
    Image.new("RGB", (16, 16)).save(image := folder.parent / "image.png")
    assert main(["predict", str(image), "--model", str(folder)]) == 2
    out, error = capsys.readouterr()
    assert not out
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (folder.parent / "marker").exists()
    return error


@harms.cases(CLASSIFIER_FAULTS)
def test_a_trained_classifier_is_refused(tmp_path, capsys, harm):
    save_timm(tmp_path / "model", SPACE, TRAINING)
    harm(tmp_path / "model")
    assert "model.json" in predict(tmp_path / "model", capsys)


SEMANTIC_FAULTS = {
    "card: a list": harms.text(CARD, "[]"),
    "more names than vectors": harms.edit(
        CARD, labels__labels=[{"name": name} for name in ("cat", "dog", "frog", "elk")]
    ),
    "no source of vectors": harms.edit(CARD, settings__vectors={}),
    "other vectors": harms.tensors(WEIGHTS, lambda found: found.update(vectors=torch.eye(3, 5))),
    "weights with NaN": harms.tensors(WEIGHTS, harms.not_a_number),
    "weights without vectors": harms.tensors(WEIGHTS, lambda found: found.pop("vectors")),
    "pickled weights": harms.pickled(WEIGHTS, "model.pt"),
}


@harms.cases(SEMANTIC_FAULTS)
def test_a_semantic_matrix_is_refused(tmp_path, capsys, harm):
    config = SemanticConfig(model="test_resnet", image_size=16, rows=2, pretrained=False, device="cpu")
    save_matrix(tmp_path / "model", LabelVectors(SPACE.names, torch.eye(3, 4)), config)
    harm(tmp_path / "model")
    assert "model.json" in predict(tmp_path / "model", capsys)


def test_dual_prompts_run_no_code_of_the_clip_that_their_card_names(tmp_path, capsys):
    CLIP_CODE["trust_remote_code for the tokenizer"](evil := harms.copy(harms.CLIP, tmp_path / "clip"))
    save_dual_prompts(tmp_path / "model", SPACE, DualPromptConfig(context=4, device="cpu"))
    clip = ClipConfig(model=f"local-dir:{evil}")
    harms.edit(CARD, settings__clip__model=clip.model, settings__clip_digest=clip_digest(clip))(tmp_path / "model")
    assert "trust_remote_code" in predict(tmp_path / "model", capsys)


BACKBONES = {
    "a pickle": ("timm:test_resnet", "weights.pth"),
    "a pickle called safetensors": ("timm:test_resnet", "weights.safetensors"),
    "of the hub": ("timm:hf_hub:evil/evil", None),
    "in a folder": ("timm:local-dir:evil", None),
    "a CLIP that runs code": ("open_clip:local-dir:{folder}/clip", None),
    "a pickled CLIP file": ("open_clip:ViT-B-32", "weights.pth"),
}


@pytest.mark.parametrize(("model", "weights"), BACKBONES.values(), ids=BACKBONES.keys())
def test_a_few_shot_head_runs_no_code_of_the_backbone_that_its_card_names(tmp_path, capsys, model, weights):
    CLIP_CODE["trust_remote_code for the tokenizer"](harms.copy(harms.CLIP, tmp_path / "clip"))
    if weights:
        harms.pickled("nothing", weights, keep=True)(tmp_path)
    backbone = BackboneConfig(
        model=model.format(folder=tmp_path), weights=str(tmp_path / weights) if weights else None, image_size=16, device="cpu"
    )  # fmt: skip
    own = BackboneConfig(model="open_clip:local-dir:models/pocket/clip", image_size=32, device="cpu")
    save_head(tmp_path / "model", SPACE, own)
    harms.edit(CARD, settings__backbone=backbone.model_dump(mode="json"))(tmp_path / "model")
    predict(tmp_path / "model", capsys)
