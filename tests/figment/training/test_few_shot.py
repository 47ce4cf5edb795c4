"""Heads of methods: what each learns from."""

import torch
from torch import nn

from figment.planning.methods import Method
from figment.training.banks import load_features, save_features
from figment.training.config import HeadConfig
from figment.training.few_shot import FILTER_VIEWS, Made, cross_validate, filter_views, learn
from figment.training.head import FeatureSet, HeadTraining, logits_of

CONFIG = HeadConfig(steps=200, learning_rate=0.05)
LABELS = torch.tensor([0, 0, 1, 1])


def features(labels: torch.Tensor, seed: int, offset: float = 0.0) -> torch.Tensor:
    """(N, 1 + 6, 2): a corner for each class; the image as it is, in view 0, is shifted by ``offset``."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.eye(2)[labels][:, None] + 0.1 * torch.randn(len(labels), 7, 2, generator=generator)
    found[:, 0] += offset
    return found


SHOTS = FeatureSet(features(LABELS, 0), LABELS)
SOURCES = torch.tensor([0, 0, 1, 2, 3, 3])


def made(flipped: list[int], weights: list[float]) -> Made:
    """Images of the shots, some of which show the other class."""
    shown = LABELS[SOURCES].clone()
    shown[flipped] = 1 - shown[flipped]
    return Made(features(shown, 1), SOURCES, torch.tensor(weights))


def accuracy(head: nn.Linear) -> float:
    labels = torch.arange(2).repeat(100)
    return float((logits_of(head, features(labels, 9)[:, 1]).argmax(1) == labels).float().mean())


def test_without_augmentation_the_image_as_it_is_is_all_that_is_seen():
    shots = FeatureSet(features(LABELS, 0, offset=50.0), LABELS)
    plain, _ = learn(Method(augment=False), shots, None, HeadTraining(2, CONFIG, 0))
    changed, _ = learn(Method(), shots, None, HeadTraining(2, CONFIG, 0))
    alike = FeatureSet(shots.features[:, :1], LABELS)
    again, _ = learn(Method(augment=False), alike, None, HeadTraining(2, CONFIG, 0))
    assert plain.head.weight.equal(again.head.weight)
    assert not plain.head.weight.equal(changed.head.weight)
    assert accuracy(changed.head) > 0.95


def test_what_is_weighed_down_is_hardly_learned_from():
    wrong, right = [0, 3, 5], [1.0] * 6
    judged = [0.0 if i in wrong else 1.0 for i in range(6)]
    method = Method(images=2, alpha=0.95)
    fooled, _ = learn(method, SHOTS, made(wrong, right), HeadTraining(2, CONFIG, 0))
    accuracies = {}
    for policy in ("per_photo", "global", "reject"):
        found, use = learn(
            method.model_copy(update={"weights": policy}), SHOTS, made(wrong, judged), HeadTraining(2, CONFIG, 0)
        )
        accuracies[policy] = accuracy(found.head)
        assert use.share[[0, 5]].tolist() == [0, 0]
    assert min(accuracies["global"], accuracies["reject"]) > 0.95
    assert accuracies["per_photo"] >= accuracy(fooled.head)  # its third photo has nothing but a wrong image


def test_made_images_have_the_class_of_their_photo():
    only = Made(features(LABELS[SOURCES], 1), SOURCES, torch.ones(6))
    found, use = learn(
        Method(images=2, alpha=1.0), FeatureSet(torch.zeros(4, 7, 2), LABELS), only, HeadTraining(2, CONFIG, 0)
    )
    assert accuracy(found.head) > 0.95
    assert use.alpha.tolist() == [1.0] * 4


def test_the_filter_sees_random_views_alone():
    seen = filter_views(FeatureSet(features(LABELS, 0, offset=9.0), LABELS))
    assert seen.features.shape == (4, FILTER_VIEWS, 2)
    assert seen.features.abs().max() < 3


def test_features_are_the_same_from_disk(tmp_path):
    sets = {"shots": SHOTS, "test/other artists": FeatureSet(features(LABELS, 3), LABELS)}
    save_features(sets, tmp_path / "features.safetensors")
    loaded = load_features(tmp_path / "features.safetensors")
    assert set(loaded) == set(sets)
    assert all(loaded[n].features.equal(s.features) and loaded[n].labels.equal(s.labels) for n, s in sets.items())


def test_a_cross_validated_shot_is_measured_by_what_knows_neither_it_nor_its_images():
    """Each shot lies in a corner of its own, which it alone and its images teach to be its class."""
    corners = torch.eye(6)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    shots = FeatureSet(corners[:, None].repeat(1, 7, 1), labels)
    images = Made(shots.features.clone(), torch.arange(6), torch.ones(6))
    known, _ = learn(Method(), shots, images, HeadTraining(2, CONFIG, 0))
    assert (logits_of(known.head, shots.features[:, 0]).argmax(1) == labels).all()
    logits = cross_validate(Method(images=1), shots, images, HeadTraining(2, CONFIG, 0))
    assert logits.shape == (6, 2)
    margin = (logits[:, 0] - logits[:, 1]).abs()
    assert margin.max() < (logits_of(known.head, shots.features[:, 0]) @ torch.tensor([1.0, -1.0])).abs().min() / 2


def test_cross_validation_finds_what_generalises():
    labels = torch.arange(2).repeat(4)
    logits = cross_validate(Method(), FeatureSet(features(labels, 3), labels), None, HeadTraining(2, CONFIG, 0))
    assert (logits.argmax(1) == labels).all()
