"""How two versions are compared."""

from types import SimpleNamespace

import torch

from figment.datasets.labelled import LabelledImages
from figment.ops.champion import accuracy_gain


def test_each_version_sees_the_images_as_it_was_trained_to():
    shown = []

    def test(size, resize):
        shown.append((size, resize))
        return LabelledImages(torch.zeros(6, 3, size, size, dtype=torch.uint8), torch.arange(6) % 3)

    def version(size, resize):
        return SimpleNamespace(
            labels=("a", "b", "c"), image_size=size, resize=resize, predict=lambda pixels: torch.eye(3)[[0, 1, 2] * 2]
        )

    assert accuracy_gain(test)(version(8, "squash"), version(16, "bilinear")).top1 == 0
    assert shown == [(8, "squash"), (16, "bilinear")]
