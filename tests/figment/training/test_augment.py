import torch

from figment.training.augment import augment, shift
from figment.training.config import TrainingConfig

PLAIN = TrainingConfig(crop_scale=1.0, flip=False)
RAMP = torch.linspace(0, 255, 32).to(torch.uint8).expand(8, 3, 32, 32).clone()


def rng():
    return torch.Generator().manual_seed(0)


def with_(**changes) -> TrainingConfig:
    return PLAIN.model_copy(update=changes)


def test_every_image_has_its_own_draw():
    changed = augment(RAMP, with_(crop_scale=0.3), rng())
    assert changed.shape == RAMP.shape
    assert len({float(image.sum()) for image in changed}) == 8
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_nothing_asked_for_changes_nothing():
    assert torch.equal(augment(RAMP, PLAIN, rng()), RAMP.float() / 255)


def test_a_flip_mirrors_some_and_leaves_the_others():
    changed = augment(RAMP, with_(flip=True), rng())
    mirrored = [torch.equal(image, RAMP[0].float().flip(2) / 255) for image in changed]
    kept = [torch.equal(image, RAMP[0].float() / 255) for image in changed]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 0 < sum(mirrored) < 8


def test_a_shift_moves_whole_pixels_and_lets_black_in():
    marked = torch.zeros(64, 1, 9, 9, dtype=torch.uint8)
    marked[:, :, 4, 4] = 200
    moved = shift(marked, 2, rng())
    places = (moved[:, 0] == 200).nonzero()
    assert len(places) == 64
    assert set(places[:, 1].tolist()) == set(places[:, 2].tolist()) == {2, 3, 4, 5, 6}
    assert shift(torch.full((32, 3, 8, 8), 9, dtype=torch.uint8), 2, rng()).unique().tolist() == [0, 9]


def test_a_resized_crop_of_the_whole_keeps_the_image():
    """With area 1 and no aspect the affine map is the identity; rotation alone by 0 degrees too."""
    changed = augment(RAMP, with_(rotation=1e-4), rng())
    assert torch.allclose(changed, RAMP.float() / 255, atol=1e-3)


def test_rotation_turns_within_its_reach():
    line = torch.zeros(16, 3, 33, 33, dtype=torch.uint8)
    line[:, :, 16, :] = 255  # a horizontal line through the centre stays through the centre
    turned = augment(line, with_(rotation=90.0), rng())
    assert torch.allclose(turned[:, :, 16, 16], torch.ones(16, 3), atol=0.2)
    assert (turned[:, 0, 16, 30] < 0.5).sum() > 8  # but its ends are elsewhere


def test_colour_jitter_keeps_the_range():
    changed = augment(RAMP, with_(color_jitter=0.5), rng())
    assert not torch.equal(changed, RAMP.float() / 255)
    assert changed.min() >= 0
    assert changed.max() <= 1
