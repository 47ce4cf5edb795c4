import pytest
import torch
from torch import nn

from figment.errors import InputError
from pocket.loop import TrainingLoop


def train(folder, steps: int, stop_after: int | None = None, learning_rate: float = 0.05, **options) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    loop = TrainingLoop(model, folder / "c.safetensors", steps=steps, learning_rate=learning_rate, seed=1, **options)
    data = torch.randn(64, 4, generator=torch.Generator().manual_seed(2))
    for step, rows in loop.batches(64, 8):
        noise = torch.randn(8, 1, generator=loop.generator) * 0.1
        loop.update((model(data[rows]) - data[rows].sum(1, keepdim=True) + noise).square().mean())
        if step == stop_after:
            loop.save()
            return model
    loop.load_average()
    return model


def test_resumed_training_ends_where_uninterrupted_training_does(tmp_path):
    whole = train(tmp_path / "whole", 40)
    train(tmp_path / "parts", 40, stop_after=17)
    resumed = train(tmp_path / "parts", 40)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_finished_training_is_not_repeated(tmp_path):
    first = train(tmp_path, 10)
    before = (tmp_path / "c.safetensors").read_bytes()
    again = train(tmp_path, 10)
    assert torch.equal(first.weight, again.weight)
    assert (tmp_path / "c.safetensors").read_bytes() == before


def test_another_setting_does_not_resume_silently(tmp_path):
    train(tmp_path, 10)
    with pytest.raises(InputError, match=r"made with learning_rate = 0\.05, the config now says 0\.1"):
        train(tmp_path, 10, learning_rate=0.1)


def test_a_loss_that_is_no_number_stops_before_it_is_saved(tmp_path):
    loop = TrainingLoop(nn.Linear(1, 1), tmp_path / "c.safetensors", steps=3, learning_rate=0.1, seed=0)
    nan = torch.full((1, 1), float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 3"):
        [loop.update(loop.module(nan).sum()) for _ in loop.batches(4, 2)]
    assert not (tmp_path / "c.safetensors").exists()


def test_a_budget_of_seconds_ends_the_training_and_its_schedule(tmp_path):
    loop = TrainingLoop(
        nn.Linear(1, 1), tmp_path / "c.safetensors", steps=10**9, learning_rate=0.1, seed=0, seconds=0.2
    )
    for _ in loop.batches(4, 2):
        loop.update(loop.module(torch.ones(1, 1)).sum())
    assert loop.progress == 1
    assert 0 < loop.step < 10**9
