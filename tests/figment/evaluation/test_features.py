import pytest
import torch

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.labelled import open_labelled
from figment.evaluation.features import clip_features
from figment.labels import LabelSpace
from figment.metrics.diversity import Labelled, diversity_ledger, vendi_score
from figment.ops.environment import ROOT


@pytest.fixture(scope="module")
def scorer() -> ClipScorer:
    return ClipScorer(ClipConfig(model="local-dir:models/pocket/clip", device="cpu"))


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load(ROOT / "configs/labels/pocket.yaml").choose(["car", "frog", "banana"])


def test_features_are_unit_vectors_in_the_sets_order_streamed_or_not(scorer, space):
    streamed = open_labelled(ROOT / "data/real", "test", space, scorer.size, per_class=20)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    features = clip_features(streamed.load(), scorer)
    assert torch.allclose(features.norm(dim=1), torch.ones(60), atol=1e-5)
    assert torch.allclose(clip_features(streamed.subset(order), scorer), features[order], atol=1e-5)


def test_real_images_reach_each_other_and_one_image_repeated_does_not(scorer, space):
    """The ledger on genuine features: another half of the same images against copies of one per class."""
    images = open_labelled(ROOT / "data/real", "test", space, scorer.size, per_class=40).load()
    features = clip_features(images, scorer)
    first = torch.cat([(images.labels == i).nonzero().flatten()[:20] for i in range(3)])
    second = torch.cat([(images.labels == i).nonzero().flatten()[20:] for i in range(3)])
    shots = Labelled(features[first], images.labels[first])
    others = diversity_ledger(Labelled(features[second], images.labels[second]), shots, space.names)
    copies = features[second][[0] * 20 + [20] * 20 + [40] * 20]
    same = diversity_ledger(Labelled(copies, images.labels[second]), shots, space.names)
    assert same.vendi == pytest.approx(1, abs=1e-3)
    assert 1.5 < others.vendi <= 20
    assert others.reach.coverage > 0.5 > same.reach.coverage
    assert others.reach.recall > 0.5 > same.reach.recall
    assert others.frechet < same.frechet
    assert vendi_score(features) > others.vendi  # three classes hold more than one
