import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from models.dual_prompt import region_features
from models.fast_resnet import make_fast


def tower(seed: int = 0) -> ModifiedResNet:
    """Random weights, and batch norms that have seen something."""
    torch.manual_seed(seed)
    visual = ModifiedResNet([1, 2, 1, 1], output_dim=32, heads=8, image_size=64, width=16)
    for module in visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return visual.eval()


def test_the_fast_tower_computes_the_same():
    plain, fast, pixels = tower(), make_fast(tower()), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        expected = plain(pixels)
        assert torch.allclose(fast(pixels), expected, atol=1e-4 * float(expected.abs().max()))
        assert torch.allclose(region_features(fast, pixels), region_features(plain, pixels), rtol=1e-3, atol=1e-3)
    assert not [module for module in fast.modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_pocket_clip_keeps_its_features_and_their_gradient():
    features, gradients = [], []
    for change in (lambda visual: visual, make_fast):
        clip = open_clip.create_model_and_transforms("local-dir:models/pocket/clip")[0].eval().requires_grad_(False)
        clip.visual = change(clip.visual)
        pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        features.append(clip.encode_image(pixels, normalize=True))
        features[-1].square().mul(torch.arange(256)).sum().backward()
        gradients.append(pixels.grad)
    assert torch.allclose(*features, atol=1e-5)
    assert torch.allclose(*gradients, atol=1e-3 * float(gradients[0].abs().max()))


def test_a_tower_in_training_is_refused():
    with pytest.raises(ValueError, match="in eval mode only"):
        make_fast(tower().train())


def test_other_towers_are_left_alone():
    other = nn.Conv2d(3, 3, 1)
    assert make_fast(other) is other
