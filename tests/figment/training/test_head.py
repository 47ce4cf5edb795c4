"""The linear head and the law by which its items are drawn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from figment.planning.sample_weights import Use, use_of
from figment.training.config import HeadConfig
from figment.training.head import FeatureSet, HeadTraining, logits_of, train_head
from figment.training.sampling import sampling_law

CONFIG = HeadConfig(steps=300, batch_size=16, learning_rate=0.05, validate_every=25)


def blobs(count: int, seed: int, spread: float = 0.3) -> FeatureSet:
    """Three classes on three corners, four views an image."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat(count)
    features = torch.eye(3)[labels][:, None] + spread * torch.randn(3 * count, 4, 3, generator=generator)
    return FeatureSet(features, labels)


def uniform(images: FeatureSet) -> torch.Tensor:
    return torch.full((len(images),), 1 / len(images), dtype=torch.float64)


def accuracy(head, images: FeatureSet) -> float:
    return float((logits_of(head, images.features[:, 0]).argmax(1) == images.labels).float().mean())


def test_a_head_learns_and_the_same_seed_gives_the_same():
    train, test = blobs(4, 0), blobs(60, 1)
    first, again, other = (train_head(train, uniform(train), HeadTraining(3, CONFIG, seed)) for seed in (0, 0, 1))
    assert accuracy(first.head, test) > 0.9
    assert first.head.weight.equal(again.head.weight)
    assert not first.head.weight.equal(other.head.weight)
    assert [step for step, _ in first.history] == list(range(25, 301, 25))


def test_what_has_no_probability_is_never_learned_from():
    train = blobs(4, 0)
    poisoned = FeatureSet(
        torch.cat([train.features, train.features]), torch.cat([train.labels, (train.labels + 1) % 3])
    )
    law = torch.cat([uniform(train), torch.zeros(len(train), dtype=torch.float64)])
    there, clean = (
        train_head(poisoned, law, HeadTraining(3, CONFIG, 0)),
        train_head(train, uniform(train), HeadTraining(3, CONFIG, 0)),
    )
    test = blobs(60, 1)
    assert accuracy(there.head, test) == pytest.approx(accuracy(clean.head, test), abs=0.05)


def test_the_best_step_is_kept_as_a_copy():
    train = blobs(2, 0)
    wrong = FeatureSet(train.features, (train.labels + 1) % 3)  # the longer it learns, the worse it gets here
    slow = CONFIG.model_copy(update={"learning_rate": 0.005, "validate_every": 5})
    found = train_head(train, uniform(train), HeadTraining(3, slow, 0, wrong))
    scores = {step: metrics["validation_accuracy"] for step, metrics in found.history}
    assert found.kept == next(step for step in scores if scores[step] == max(scores.values()))
    assert found.kept < 300
    stopped = train_head(train, uniform(train), HeadTraining(3, slow.model_copy(update={"steps": found.kept}), 0))
    assert found.head.weight.equal(stopped.head.weight)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 3), st.floats(0, 1), st.integers(0, 99))
def test_the_law_is_class_balanced_and_sums_to_one(shots, images, alpha, seed):
    labels = torch.arange(len(shots)).repeat_interleave(torch.tensor(shots))
    sources = torch.arange(len(labels)).repeat_interleave(images)
    weights = torch.rand(len(sources), generator=torch.Generator().manual_seed(seed))
    for policy in ("equal", "per_photo", "global", "reject"):
        law = sampling_law(labels, sources, use_of(weights, sources, len(labels), alpha, policy))
        assert law.sum() == pytest.approx(1)
        of_class = torch.zeros(len(shots), dtype=torch.float64)
        of_class.index_add_(0, torch.cat([labels, labels[sources]]), law)
        assert of_class.tolist() == pytest.approx([1 / len(shots)] * len(shots))


def test_photos_without_images_stand_for_themselves():
    labels, none = torch.tensor([0, 0, 1]), torch.zeros(0, dtype=torch.long)
    law = sampling_law(labels, none, Use(torch.zeros(3, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)))
    assert law.tolist() == pytest.approx([0.25, 0.25, 0.5])
