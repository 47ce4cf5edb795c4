from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from figment.errors import InputError
from pocket.artwork import OBJECTS
from pocket.judge import check_judge, judge_pool, load_judge, shows_what_it_should
from pocket.world import World

WEIGHTS = Path("models/pocket/judge/judge.safetensors")
NAMES = list(OBJECTS)


@pytest.fixture(scope="module")
def judge() -> nn.Module:
    return load_judge(WEIGHTS, len(NAMES))


def test_just_what_was_requested_must_be_strongest():
    """A judge that reads its logits off the first three pixels."""

    class Reads(nn.Module):
        def forward(self, pixels):
            return pixels[:, 0, 0, :3]

    pixels = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.3, 0.8]])[:, None, None, :].expand(2, 3, 1, 3)
    for requested, expected in (
        ([[1, 0, 0], [0, 0, 1]], [True, True]),
        ([[0, 0, 1], [0, 1, 0]], [False, False]),
        ([[1, 0, 1], [0, 1, 1]], [True, True]),
        ([[1, 1, 0], [1, 0, 1]], [False, False]),
    ):
        assert shows_what_it_should(Reads(), pixels, torch.tensor(requested)).tolist() == expected


@pytest.fixture(scope="module")
def world() -> World:
    return World([Path("data/artwork/noto.parquet")], NAMES)


@pytest.mark.parametrize("pairs", [0.0, 1.0])
def test_the_shipped_judge_knows_scenes_and_is_not_told_what_to_see(judge, world, pairs):
    drawn = world.sample(100, torch.Generator().manual_seed(5), pairs=pairs, domain="photo")
    right = shows_what_it_should(judge, drawn.pixels, drawn.objects.long())
    assert right.float().mean() > 0.8
    wrong = shows_what_it_should(judge, drawn.pixels, drawn.objects.long().roll(1, 1))
    assert wrong.float().mean() < 0.05


def test_images_of_a_pool_are_judged_by_what_they_were_asked_to_show(plan, pool):
    right = judge_pool(WEIGHTS, plan["image_id"].to_pylist(), pool)
    assert list(right) != []
    assert set(right) == set(plan["image_id"].to_pylist())
    assert sum(right.values()) > len(plan) / 2


def test_what_is_no_judge_or_does_not_fit_is_one_sentence(tmp_path):
    check_judge(WEIGHTS, ["dog", "banana"])
    with pytest.raises(InputError, match=r"knows the pocket world's objects alone, not 'computer'; leave it out"):
        check_judge(WEIGHTS, ["dog", "computer"])
    junk, partial = tmp_path / "junk", tmp_path / "partial"
    junk.write_bytes(b"junk")
    save_file({name: value for name, value in load_file(WEIGHTS).items() if "fc" not in name}, partial)
    for file in (tmp_path / "none", junk, partial):
        with pytest.raises(InputError, match=r"judge: .* holds no judge's weights: ") as caught:
            check_judge(file, ["dog"])
        assert "\n" not in str(caught.value)
