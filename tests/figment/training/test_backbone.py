"""Frozen backbones: truly frozen, normalised as their weights want it, looked up instead of run again."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from figment.datasets.labelled import LabelledImages
from figment.errors import InputError
from figment.training.backbone import Backbone, load_backbone, view_features
from figment.training.config import AugmentConfig, BackboneConfig

POCKET = BackboneConfig(model="open_clip:local-dir:models/pocket/clip", image_size=32, device="cpu")
CHANGES = AugmentConfig(crop_scale=0.7, rotation=15)
RANDAUGMENT = AugmentConfig(crop_scale=1.0, transforms="timm", auto_augment="rand-m9-n2")
GREY = torch.full((3, 1, 1), 0.5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A timm network's weights in a file, as training elsewhere leaves them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def images(count: int, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator).byte()
    return LabelledImages(pixels, torch.zeros(count, dtype=torch.long))


def test_clip_towers_give_features_whose_coordinates_are_about_one():
    features = load_backbone(POCKET)(images(4).pixels)
    assert features.shape == (4, 256)
    assert features.pow(2).mean(1).tolist() == pytest.approx([1] * 4, rel=1e-4)


def test_timm_networks_are_loaded_from_a_file_and_use_their_own_statistics(weights):
    backbone = load_backbone(BackboneConfig(model="timm:test_resnet", weights=str(weights), device="cpu"))
    expected = timm.create_model("test_resnet", num_classes=0)
    expected.load_state_dict({k: v for k, v in load_file(weights).items() if not k.startswith("fc.")})
    pixels = images(3).pixels
    expected_features = expected.eval()((pixels.float() / 255 - 0.5) / 0.5)
    assert torch.allclose(backbone(pixels), expected_features, atol=1e-5)


def test_a_backbone_in_training_stays_as_it_is_unlike_in_the_published_code():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    backbone = Backbone(network, GREY, GREY).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    for seed in range(3):
        backbone(images(8, seed).pixels)
    assert not any(module.training for module in backbone.modules())
    assert all(before[name].equal(value) for name, value in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("changes", [CHANGES, RANDAUGMENT], ids=["crops", "RandAugment"])
def test_views_are_drawn_once_and_do_not_depend_on_company(changes):
    backbone = load_backbone(POCKET)
    first, again = (view_features(images(6), backbone, size, changes, 3, seed=1) for size in (2, 24))
    alone = view_features(images(6).subset(torch.tensor([4, 1])), backbone, 24, changes, 3, seed=1)
    assert torch.allclose(first[[4, 1]], alone, atol=1e-4)
    assert first.shape == (6, 4, 256)
    assert torch.allclose(first, again, atol=1e-4)
    assert torch.allclose(first[:, 0], backbone(images(6).pixels), atol=1e-4)  # as it is
    assert torch.allclose(first[:, :1], view_features(images(6), backbone, 6, changes, 0, seed=1), atol=1e-4)
    assert not torch.allclose(first[:, 1], first[:, 2], atol=0.1)
    other = view_features(images(6), backbone, 6, changes, 3, seed=2)
    assert not torch.allclose(first[:, 1], other[:, 1], atol=0.1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:resnet5", "'timm:resnet5'; give open_clip:MODEL or timm:NAME"),
        ("resnet50", "give open_clip:MODEL or timm:NAME"),
        ("open_clip:local-dir:nowhere", "'nowhere' holds no open_clip_config.json"),
        ("timm:resnet18", "the weights of 'timm:resnet18' cannot be loaded"),
    ],
)
def test_a_backbone_that_is_not_there_is_one_sentence(model, message):
    with pytest.raises(InputError) as caught:
        load_backbone(BackboneConfig(model=model, device="cpu"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_weights_file_is_named():
    with pytest.raises(InputError, match=r"backbone\.weights: none\.safetensors: no such file"):
        load_backbone(BackboneConfig(model="timm:resnet18", weights="none.safetensors"))
