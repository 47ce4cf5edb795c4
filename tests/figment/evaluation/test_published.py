import torch

from figment.evaluation.published import predict_as_published
from figment.training.classifier import build_classifier, predict
from figment.training.config import TrainingConfig


def test_the_published_evaluation_depends_on_the_batch_and_ours_does_not():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_classifier(TrainingConfig(model="test_resnet"), 3).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pixels = torch.randint(0, 256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole, halves = predict_as_published(model, pixels, 40), predict_as_published(model, pixels, 20)
    assert whole.shape == (40, 3)
    assert not torch.allclose(whole, halves, atol=1e-3)
    assert torch.allclose(predict(model, pixels, 40), predict(model, pixels, 20), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_a_last_picture_alone_joins_its_neighbours():
    model = build_classifier(TrainingConfig(model="test_resnet"), 3)
    assert predict_as_published(model, torch.zeros(9, 3, 32, 32, dtype=torch.uint8), 4).shape == (9, 3)
