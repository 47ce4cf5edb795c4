"""Genuine photographs through the reader, the trainer and the evaluator."""

import pytest

from figment.datasets.labelled import read_labelled
from figment.labels import LabelSpace
from figment.metrics.accuracy import top1
from figment.ops.environment import ROOT
from figment.training.classifier import predict
from figment.training.config import TrainingConfig
from figment.training.train import train_classifier

pytestmark = pytest.mark.slow


def test_a_few_hundred_steps_on_real_photographs_beat_chance_clearly(cifar10_folder):
    space = LabelSpace.load(ROOT / "configs/labels/cifar10.yaml")
    train = read_labelled(cifar10_folder, "train", space, 32, per_class=800)
    test = read_labelled(cifar10_folder, "test", space, 32, per_class=200)
    config = TrainingConfig(
        model="test_resnet", steps=400, batch_size=64, learning_rate=3e-3, weight_decay=0.05, crop_scale=0.5
    )
    score = top1(predict(train_classifier(train, 10, config), test.pixels), test.labels)
    assert score.low > 0.3, score  # chance is 0.1
