"""timm's names, starts, optimizers and augmentation as options; left alone, everything is as it was."""

import random

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from figment.datasets.labelled import LabelledImages
from figment.errors import InputError
from figment.training.augment import augment, normalise
from figment.training.classifier import build_classifier, check_classifier, read_as_pretrained, start_classifier
from figment.training.config import AugmentConfig, TrainingConfig
from figment.training.optimizers import make_optimizer, set_rate
from figment.training.timm_recipes import cross_entropy, mix
from figment.training.train import train_classifier

TINY = TrainingConfig(model="resnet10t", image_size=32, batch_size=8, steps=3, device="cpu", weight_decay=0.1)
VIT = TrainingConfig(model="vit_tiny_patch16_224", image_size=32, device="cpu")


def configured(base: TrainingConfig = TINY, **options) -> TrainingConfig:
    return TrainingConfig(**base.model_dump() | options)


def images(count: int = 17, size: int = 32) -> LabelledImages:
    random_numbers = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=random_numbers)
    return LabelledImages(pixels, torch.arange(count) % 3)


def test_the_default_optimizer_is_the_plain_adamw_over_all_parameters():
    model = build_classifier(TINY, 3)
    own, plain = make_optimizer(model, TINY), torch.optim.AdamW(model.parameters(), 2e-4, weight_decay=0.1)
    assert type(own) is torch.optim.AdamW
    assert own.state_dict() == plain.state_dict()
    assert own.defaults == plain.defaults


def test_layers_decay_from_the_head_down_and_follow_the_schedule():
    model = build_classifier(VIT, 3)
    optimizer = make_optimizer(model, configured(VIT, layer_decay=0.5, decay_all=False))
    set_rate(optimizer, 1.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.head.weight)] == 1.0
    assert rates[id(model.blocks[11].mlp.fc1.weight)] == 2 * rates[id(model.blocks[10].mlp.fc1.weight)]
    assert rates[id(model.patch_embed.proj.weight)] < 1e-3
    assert decays[id(model.blocks[0].norm1.weight)] == 0 < decays[id(model.blocks[0].mlp.fc1.weight)]


@pytest.mark.parametrize("optimizer", ["sgd", "lamb", "lion", "nadamw"])
def test_any_optimizer_of_timm_trains(optimizer):
    model = train_classifier(images(), 3, configured(optimizer=optimizer, learning_rate=1e-3))
    before = build_classifier(TINY, 3).state_dict()
    assert any(not torch.equal(p, before[n]) for n, p in model.state_dict().items())


def test_a_tag_names_the_same_architecture():
    tagged, plain = (build_classifier(configured(model=name), 3) for name in ("resnet10t.c3_in1k", "resnet10t"))
    assert {n: p.shape for n, p in tagged.state_dict().items()} == {n: p.shape for n, p in plain.state_dict().items()}


def test_a_file_of_weights_is_a_start_for_other_classes(tmp_path):
    source = timm.create_model("resnet10t", num_classes=7)
    file = tmp_path / "weights.safetensors"
    save_file({n: t.contiguous() for n, t in source.state_dict().items()}, file)
    model = start_classifier(configured(weights=str(file)), 3)
    same = [torch.equal(p, source.state_dict()[n]) for n, p in model.state_dict().items() if not n.startswith("fc.")]
    assert all(same)
    assert model.fc.weight.shape[0] == 3


def test_a_model_pretrained_with_other_statistics_reads_its_own():
    source = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32).eval()
    model = build_classifier(VIT, 3).eval()
    model.load_state_dict(source.state_dict())
    read_as_pretrained(model)
    pixels = images(2).pixels
    assert torch.allclose(model(normalise(pixels)), source((pixels / 255 - 0.5) / 0.5), atol=1e-5)


@pytest.mark.parametrize("parts", [("backbone",), ("conv1", "bn1", "layer1", "layer2")])
def test_frozen_parts_keep_their_weights_and_statistics(parts):
    config = configured(freeze=parts, learning_rate=1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        before = {n: t.clone() for n, t in build_classifier(config, 3).state_dict().items()}
    after = train_classifier(images(), 3, config).state_dict()
    frozen = [n for n in after if (not n.startswith("fc.") if parts == ("backbone",) else n.startswith(parts))]
    assert len(frozen) > 20
    assert all(torch.equal(after[n], before[n]) for n in frozen)
    assert not torch.equal(after["fc.weight"], before["fc.weight"])


def test_mixed_targets_are_probabilities_and_follow_from_the_seed():
    config = configured(mixup=0.4, cutmix=1.0, label_smoothing=0.1)
    pixels, labels = images(5).pixels.float() / 255, torch.tensor([0, 1, 2, 0, 1])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    mixed, targets = mix(pixels, labels, 3, config, 7)
    following = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert following == (random.random(), np.random.rand(), torch.rand(1).item()), "global numbers are as they were"
    assert torch.allclose(targets.sum(1), torch.ones(5))
    assert torch.equal(mixed[4], pixels[4])
    assert not torch.equal(mixed[:4], pixels[:4])
    again, other = (mix(pixels, labels, 3, config, seed) for seed in (7, 8))
    assert torch.equal(again[0], mixed)
    assert not torch.equal(other[0], mixed)
    logits = torch.randn(5, 3)
    plain = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    smooth = mix(pixels[:1], labels[:1], 3, config, 0)[1]
    assert torch.equal(smooth, labels[:1]), "one image is not mixed"
    assert torch.equal(cross_entropy(logits, labels, 0.1), plain)


def test_timms_transforms_change_each_image_by_its_own_seed():
    config = AugmentConfig(transforms="timm", crop_scale=0.5, auto_augment="rand-m9-mstd0.5-inc1", random_erasing=0.5)
    pixels = images(4).pixels
    shown = augment(pixels, config, torch.Generator().manual_seed(3))
    assert shown.shape == (4, 3, 32, 32)
    assert shown.dtype == torch.float32
    assert not torch.equal(shown, augment(pixels, config, torch.Generator().manual_seed(4)))
    assert torch.equal(shown, augment(pixels, config, torch.Generator().manual_seed(3)))
    same = augment(pixels[:1].expand(2, -1, -1, -1), config, torch.Generator().manual_seed(3))
    assert not torch.equal(same[0], same[1])


def test_a_training_with_all_of_them_is_the_same_twice():
    config = configured(
        transforms="timm", auto_augment="rand-m5", mixup=0.2, cutmix=0.5, optimizer="lamb", layer_decay=0.8
    )
    one, two = (train_classifier(images(), 3, config).state_dict() for _ in range(2))
    assert all(torch.equal(one[n], two[n]) for n in one)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "resnet10tt"}, r"training\.model: timm has no 'resnet10tt'; the nearest names are resnet10t"),
        ({"model": "resnet10t.nothing"}, r"timm has no weights 'resnet10t\.nothing'; its tags are c3_in1k"),
        ({"optimizer": "adamm"}, r"training\.optimizer: timm has no 'adamm'; the nearest names are"),
        ({"freeze": ("layer9",)}, r"training\.freeze: the model has no part 'layer9'; its parts are conv1"),
        ({"freeze": ("backbone", "fc")}, r"training\.freeze: nothing is left that learns"),
    ],
)
def test_what_timm_does_not_have_is_a_sentence_before_anything_is_rendered(options, sentence):
    with pytest.raises(InputError, match=sentence) as refusal:
        check_classifier(configured(**options), 3)
    assert "\n" not in str(refusal.value)


def test_a_hub_model_that_cannot_be_had_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"training\.model: 'hf_hub:figment/none' cannot be loaded \(.*\); connect once, or"
    ):
        check_classifier(configured(model="hf_hub:figment/none"), 3)
    with pytest.raises(InputError, match="a saved model fetches nothing"):
        build_classifier(configured(model="hf_hub:figment/none"), 3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"auto_augment": "rand-m9"}, "are timm's; set transforms: timm"),
        ({"transforms": "timm", "auto_augment": "turn-m9"}, "auto_augment is 'turn-m9'"),
        ({"transforms": "timm", "rotation": 5.0}, "no shift or rotation"),
        ({"pretrained": True, "weights": "a.safetensors"}, "are two starts"),
        ({"layer_decay": 0.0}, "greater than 0"),
        ({"mixup": -1.0}, "greater than or equal to 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, sentence):
    with pytest.raises(ValidationError, match=sentence):
        configured(**options)
