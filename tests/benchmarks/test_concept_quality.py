import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from benchmarks.concept_quality import CELL, MEASURES, measures, minus_class_name


def test_images_that_are_the_photos_are_as_good_as_can_be():
    features = torch.eye(3)[:, None].expand(3, 4, 3)
    assert measures(features, features, features) == pytest.approx([1, 1, 1, 1])


def test_images_of_the_next_class_are_as_bad_as_can_be():
    photos = torch.eye(3)[:, None].expand(3, 4, 3)
    assert measures(photos.roll(1, 0), photos, photos) == pytest.approx([0, 0, 0, 0])


def test_images_between_two_classes_are_half_as_similar_to_each():
    photos = torch.eye(2)[:, None].expand(2, 4, 2)
    made = F.normalize(torch.ones(2, 4, 2), dim=2)
    assert measures(made, photos, photos)[:2] == pytest.approx([0.5**0.5] * 2)


def test_differences_are_taken_within_a_seed():
    rows = [
        [4, prompt, "noise", seed, *[10 * seed + gain] * 4]
        for seed in (0, 1)
        for prompt, gain in (("class name", 0), ("concept", 1))
    ]
    found = minus_class_name(pd.DataFrame(rows, columns=[*CELL, "seed", *MEASURES]))
    assert found["prompt"].tolist() == ["concept", "concept"]
    assert found[MEASURES].to_numpy().tolist() == [[1.0] * 4] * 2
