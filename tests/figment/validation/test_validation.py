import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from figment.clip.scorer import ClipConfig, ClipScorer, check_clip, learned_with_quick_gelu, load_clip
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.validation.policies import Top1Policy
from figment.validation.validate import validate
from figment.validation.verdicts import REASONS, make_verdicts, reasons, yields

POCKET = ClipConfig(model="local-dir:models/pocket/clip")


@pytest.fixture(scope="module")
def scorer() -> ClipScorer:
    return ClipScorer(POCKET)


def test_scores_do_not_depend_on_the_batch(scorer, labels):
    pixels = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    text = scorer.text_features(labels)
    alone = torch.cat([scorer.logits(image[None], text) for image in pixels])
    assert torch.allclose(scorer.logits(pixels, text), alone, atol=1e-3)


def test_bytes_and_floats_score_alike(scorer, labels):
    pixels = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    text = scorer.text_features(labels)
    assert torch.allclose(scorer.logits(pixels, text), scorer.logits(pixels.float() / 255, text), atol=1e-3)


def test_preprocessing_is_open_clips_own(scorer, labels):
    import open_clip
    from PIL import Image

    _, _, preprocess = open_clip.create_model_and_transforms(POCKET.model)
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    own = (torch.from_numpy(array).permute(2, 0, 1) / 255 - scorer.mean) / scorer.std
    assert torch.allclose(own, preprocess(Image.fromarray(array)), atol=1e-5)


def test_verdicts_of_a_pool(plan, pool, labels, scorer):
    verdicts = validate(plan, pool, labels, scorer, Top1Policy(min_probability=0.3))
    assert verdicts["image_id"].to_pylist() == plan["image_id"].to_pylist()
    assert sum(reasons(verdicts).values()) == len(plan)
    assert reasons(verdicts)["accepted"] == sum(verdicts["accepted"].to_pylist())
    assert set(yields(verdicts, "trick")) == {"base_class", "random_guidance"}


@pytest.mark.parametrize(
    ("probability", "is_top1", "contrast", "unsafe", "reason"),
    [
        (0.9, True, 0.2, False, "accepted"),
        (0.9, True, 0.2, True, "unsafe"),
        (0.9, True, 0.001, False, "blank"),
        (0.9, True, 0.01, False, "near_uniform"),
        (0.4, False, 0.2, False, "wrong_class"),
        (0.4, True, 0.2, False, "low_probability"),
    ],
)
def test_every_drop_has_a_reason(labels, probability, is_top1, contrast, unsafe, reason):
    row = {"image_id": "id", "labels": ["car"], "trick": "t", "contrast": contrast, "unsafe": unsafe}
    others = [0.0, 0.0] if is_top1 else [1 - probability, 0.0]
    scores = np.array([[probability, *others]])
    assert make_verdicts([row], scores, labels, Top1Policy(min_probability=0.5))["reason"].to_pylist() == [reason]
    assert reason in REASONS


def test_a_verdict_names_what_was_seen_instead(labels):
    seen = {"image_id": "id", "labels": ["car"], "trick": "t", "contrast": 0.3, "unsafe": False}
    verdict = make_verdicts([seen], np.array([[0.1, 0.8, 0.1]]), labels, Top1Policy()).to_pylist()[0]
    assert (verdict["labels"], verdict["predicted"]) == (["car"], ["frog"])
    assert verdict["probability"] == pytest.approx(0.1)


def test_a_missing_clip_folder_is_a_sentence():
    with pytest.raises(InputError, match=r"clip\.model: 'models/none' holds no open_clip_config\.json"):
        ClipScorer(ClipConfig(model="local-dir:models/none"))


def test_an_unknown_clip_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"open_clip has no 'ViT-B32'; the nearest names are .*ViT-B-32"):
        check_clip(ClipConfig(model="ViT-B32"))


def test_a_template_with_another_class_is_averaged_over_all_others():
    labels = LabelSpace.of(["dog", "banana", "truck"])
    clip = ClipConfig(model="local-dir:models/pocket/clip", templates=("a {name} and a {other}",))
    scorer = ClipScorer(clip)
    found = scorer.text_features(labels)
    for row, name in enumerate(labels.names):
        texts = [f"a {name} and a {other}" for other in labels.names if other != name]
        expected = scorer.prompt_features(texts).mean(0)
        torch.testing.assert_close(found[row], expected / expected.norm())


@pytest.mark.parametrize("template", ["a photo", "a {nmae}", "a {name} {0}"])
def test_a_template_says_the_name(template):
    with pytest.raises(ValidationError, match=r"must say \{name\}"):
        ClipConfig(model="ViT-B-32", templates=(template,))


@pytest.mark.parametrize(
    ("model", "pretrained", "quick"),
    [("ViT-B-32", "openai", True), ("RN50", "openai", True), ("ViT-B-32", "laion2b_s34b_b79k", False), ("ViT-B-32", None, False)],
)  # fmt: skip
def test_openais_weights_get_the_activation_they_were_learned_with_whatever_the_name_says(model, pretrained, quick):
    """open_clip's ViT-B-32 has GELU, OpenAI's had QuickGELU; with the other one every score is a little wrong."""
    assert learned_with_quick_gelu(ClipConfig(model=model, pretrained=pretrained)) == quick


def test_weights_that_cannot_be_had_are_a_sentence():
    with pytest.raises(
        InputError, match=r"clip: 'ViT-B-32' with pretrained 'opnai' cannot be loaded \(.*; connect once"
    ):
        load_clip(ClipConfig(model="ViT-B-32", pretrained="opnai"))


@pytest.mark.parametrize("harm", ["no weights", "cut short"])
def test_a_clip_without_whole_weights_is_refused(tmp_path, harm):
    """open_clip would take random ones, with a warning."""
    folder = shutil.copytree("models/pocket/clip", tmp_path / "clip")
    (weights,) = folder.glob("*.safetensors")
    whole = weights.read_bytes()
    weights.unlink()
    if harm == "cut short":
        weights.write_bytes(whole[:-100])
    with pytest.raises(
        InputError, match=r"clip\.model: .*(has no weights \(.+\)|safetensors cannot be read \(.+\)); restore"
    ):
        load_clip(ClipConfig(model=f"local-dir:{folder}"))
