"""The laws of learning from images without labels, each by hand."""

import copy
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from figment.datasets.labelled import LabelledImages
from figment.training.augment import normalise
from figment.training.clip_head import train_clip_head
from figment.training.config import ClipHeadConfig
from figment.training.self_training import adapt_batch_norm, fit_class_vectors, most_confident, teach


def images(count: int) -> LabelledImages:
    pixels = torch.randint(256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledImages(pixels, torch.full((count,), -1))


@pytest.mark.parametrize(("count", "source"), [(48, 16), (4, 16), (10, 1)])
def test_batch_statistics_are_mixed_by_the_number_of_images(count, source):
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(5.0)
    norm.running_var.fill_(9.0)
    found = images(count)
    assert adapt_batch_norm(nn.Sequential(norm).train(), found, source) == 1
    seen, share = normalise(found.pixels), count / (count + source)
    torch.testing.assert_close(norm.running_mean, share * seen.mean((0, 2, 3)) + (1 - share) * 5)
    torch.testing.assert_close(norm.running_var, share * seen.transpose(0, 1).flatten(1).var(1) + (1 - share) * 9)
    assert not norm.training
    assert norm.momentum == 0.1


def test_a_network_without_batch_norms_stays_as_it_is():
    network = timm.create_model("test_vit", img_size=32, num_classes=2)
    before = copy.deepcopy(network.state_dict())
    pixels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    assert adapt_batch_norm(network, LabelledImages(pixels, torch.zeros(4)), 16) == 0
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_no_images_move_nothing():
    norm = nn.BatchNorm2d(3)
    assert adapt_batch_norm(norm, images(0), 16) == 0
    assert norm.running_mean.eq(0).all()


def test_networks_count_together_as_much_as_clip():
    first, second, clip = (torch.tensor([p]).log() for p in ([0.9, 0.1], [0.4, 0.6], [0.2, 0.8]))
    geometric = (torch.tensor([0.9, 0.1]) * torch.tensor([0.4, 0.6])).sqrt() * torch.tensor([0.2, 0.8])
    torch.testing.assert_close(teach([first + 3, second], clip - 7)[0], geometric / geometric.sum())


@pytest.mark.parametrize(
    ("share", "kept"), [(0.7, {0: 7, 1: 3}), (0.5, {0: 5, 1: 2}), (1.0, {0: 10, 1: 4}), (0.01, {0: 1, 1: 1})]
)
def test_the_surest_of_each_class_are_kept(share, kept):
    sure = torch.tensor([*torch.linspace(0.95, 0.9, 10), *torch.linspace(0.6, 0.55, 4)])
    probabilities = torch.stack([sure, 1 - sure], 1)
    probabilities[10:] = probabilities[10:].flip(
        1
    )  # the last four show the other class, and are less sure than any of the first
    rows, labels = most_confident(probabilities, share)
    assert {label: int((labels == label).sum()) for label in (0, 1)} == kept
    assert rows.tolist() == [*range(kept[0]), *range(10, 10 + kept[1])]
    assert kept[0] == math.ceil(share * 10)


def test_class_vectors_move_to_where_the_images_are_and_stay_with_the_text():
    generator = torch.Generator().manual_seed(0)
    text = F.normalize(torch.tensor([[1.0, 0.2, 0.0], [0.2, 1.0, 0.0]]), dim=1)
    centres = F.normalize(torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]]), dim=1)
    features = F.normalize(centres.repeat(40, 1) + 0.05 * torch.randn(80, 3, generator=generator), dim=1)
    assert torch.equal(fit_class_vectors(features, text, 20.0, pull=0.0), text)
    near = [(fit_class_vectors(features, text, 20.0, pull) * centres).sum(1).min() for pull in (0.0, 0.25, 1.0)]
    assert near[0] < near[1] < near[2]
    assert near[2] > 0.999
    torch.testing.assert_close(fit_class_vectors(features, text, 20.0, 1.0).norm(dim=1), torch.ones(2))


def test_a_head_begins_as_the_text_and_learns():
    text = F.normalize(torch.tensor([[1.0, 0.3], [0.3, 1.0]]), dim=1)
    features, labels = torch.eye(2).flip(0).repeat(20, 1), torch.tensor([0, 1]).repeat(20)  # called the other way round
    still = train_clip_head(features, labels, text, 10.0, ClipHeadConfig(hard=0, weight_decay=0), seed=0)
    torch.testing.assert_close(still, text, atol=0.02, rtol=0)  # CLIP's own answers teach nothing new
    config = ClipHeadConfig(hard=1, learning_rate=0.1, batch_size=8)
    learned = train_clip_head(features, labels, text, 10.0, config, seed=0)
    assert ((features @ learned.T).argmax(1) == labels).all()
    assert torch.equal(learned, train_clip_head(features, labels, text, 10.0, config, seed=0))
