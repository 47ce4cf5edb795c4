from pathlib import Path

import pytest
import torch

from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.labelled import open_labelled
from figment.evaluation.errors import explain_errors, nearest, worst_errors
from figment.training.classifier import build_classifier, predict_all
from figment.training.config import TrainingConfig
from figment.validation.features import FeatureStore


def test_the_surest_errors_come_first():
    logits = torch.tensor([[5.0, 0, 0], [0, 2.0, 0], [0, 9.0, 0], [0, 0, 1.0]])
    assert worst_errors(logits, torch.tensor([0, 0, 0, 0]), 2).tolist() == [2, 1]
    assert worst_errors(logits, torch.tensor([0, 1, 1, 2]), 2).tolist() == []


def test_the_nearest_are_by_cosine():
    learned = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([0.0, 1.0]), "c": torch.tensor([0.6, 0.8])}
    assert nearest(torch.tensor([[1.0, 0.0]]), learned, 2) == [[("a", 1.0), ("c", pytest.approx(0.6))]]
    assert len(nearest(torch.tensor([[1.0, 0.0]]), learned, 9)[0]) == 3


def test_errors_are_explained_by_images_of_the_training_list(plan, pool, labels):
    config = TrainingConfig(model="test_resnet", image_size=32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_classifier(config, len(labels)).eval()
    test = open_labelled(Path("data/real"), "test", labels, 32, 4)
    store = FeatureStore(pool, ClipScorer(ClipConfig(model="local-dir:models/pocket/clip")))
    store.complete()
    learned = plan["image_id"].to_pylist()[:10]
    errors = explain_errors(predict_all(model, test), test, learned, store, labels.names, 5)
    wrong = int((predict_all(model, test).argmax(1) != test.labels).sum())
    assert len(errors) == min(5, wrong) > 0
    for error in errors:
        assert error.truth != error.predicted
        assert "test.parquet row " in error.where
        assert {n.image_id for n in error.neighbours} <= set(learned)
        assert [n.similarity for n in error.neighbours] == sorted(
            (n.similarity for n in error.neighbours), reverse=True
        )
        assert all(n.uri.startswith("data:image/png;base64,") for n in error.neighbours)
