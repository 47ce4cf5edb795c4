import random

import numpy as np
import pytest
import torch

from figment.training.randaugment import OPERATIONS, augment_image, cutout

IMAGE = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_view_depends_on_its_seed_alone_and_leaves_the_global_generators_alone():
    before = random.getstate(), np.random.get_state()[1].tolist()
    first = augment_image(IMAGE, 0.5, True, (0, 1, 2))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(5)
    np.random.seed(5)
    assert torch.equal(augment_image(IMAGE, 0.5, True, (0, 1, 2)), first)
    assert not torch.equal(augment_image(IMAGE, 0.5, True, (0, 1, 3)), first)
    assert first.shape == IMAGE.shape
    assert first.dtype == torch.uint8


def test_without_augmentation_a_image_is_itself():
    assert torch.equal(augment_image(IMAGE, 0, False, (0,)), IMAGE)


def test_cutout_leaves_the_original_alone():
    before = IMAGE.clone()
    cutout(IMAGE, (0, 0), (1, 2, 3), 0.5)
    assert torch.equal(IMAGE, before)


def test_randaugment_does_nothing_a_quarter_of_the_time():
    """Two operations, each done half of the time (a few change nothing even if done)."""
    untouched = sum(torch.equal(augment_image(IMAGE, 0, True, (i,)), IMAGE) for i in range(400)) / 400
    assert 0.2 < untouched < 0.4


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_known_to_timm(operation):
    from timm.data.auto_augment import LEVEL_TO_ARG, NAME_TO_OP

    assert operation in NAME_TO_OP
    assert operation in LEVEL_TO_ARG
