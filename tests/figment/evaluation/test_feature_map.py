import numpy as np
import pytest
import torch

from figment.errors import InputError
from figment.evaluation.feature_map import feature_map, project
from figment.metrics.diversity import Labelled


def clusters() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    return torch.randn(60, 8, generator=generator) * 0.1 + 5 * torch.eye(8)[labels], labels


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_two_groups_stay_two_groups_on_the_plane(method):
    features, labels = clusters()
    points = project(features, method)
    assert points.shape == (60, 2)
    centres = torch.stack([points[labels == i].mean(0) for i in (0, 1)])
    assert torch.equal(torch.cdist(points, centres).argmin(1), labels)
    assert torch.equal(points, project(features, method))  # the seed decides


def test_the_map_shows_dots_and_crosses_of_every_class():
    features, labels = clusters()
    image = feature_map(Labelled(features, labels), Labelled(features[:20], labels[:20]), ["cat", "dog"], "pca")
    colours = {tuple(c) for c in np.asarray(image).reshape(-1, 3).tolist()}
    assert image.width > 500
    assert len(colours) > 10
    cats = Labelled(features[labels == 0], labels[labels == 0])
    only_cats = feature_map(cats, Labelled(features[:4], labels[:4] * 0), ["cat"], "pca")
    assert not np.array_equal(np.asarray(image.resize((50, 50))), np.asarray(only_cats.resize((50, 50))))


def test_too_few_images_make_no_map():
    with pytest.raises(InputError, match="3 images; give four or more"):
        project(torch.eye(3))
