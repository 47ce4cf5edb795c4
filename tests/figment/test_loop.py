"""The one loop: resumed wherever it stopped, it ends as if it had not; the best weights are kept; what is no number is told."""

import pytest
import torch
from torch import nn

from figment.checkpoint import Checkpoint
from figment.errors import InputError
from figment.loop import Part, Trainer, draws, fit, seeded


class Walk(Trainer):
    """A parameter that goes down a random slope; a measure that tests can set."""

    name, unit, rate = "walk", "step", "walk.rate"

    def __init__(self, count: int = 7, scores: list[float] | None = None, loss: float = 0.5):
        self.count = self.steps = count
        self.round_size = 2
        self.model, self.loss, self.scores = nn.Linear(3, 1), loss, scores
        self.chosen_by = "score" if scores else None
        with torch.no_grad():
            self.model.weight.fill_(1.0)
            self.model.bias.zero_()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 0.1)
        self.generator = torch.Generator().manual_seed(0)
        self.rounds, self.seen = 0, {"rounds": 0}

    def parts(self):
        seen = Part(lambda: dict(self.seen), self.seen.update)
        return super().parts() | {"draws": draws(self.generator), "seen": seen}

    def round(self, first, last):
        self.rounds += 1
        self.seen["rounds"] += 1
        if first == 0:
            yield 0, {"score": -1.0}
        for number in range(first, last):
            with seeded(number, torch.device("cpu")):
                value = self.model(torch.randn(4, 3) + torch.randn(4, 3, generator=self.generator)).square().mean()
            self.optimizer.zero_grad()
            value.backward()
            self.optimizer.step()
            yield None
        row = {"loss": self.loss * last}
        yield last, row | ({"score": self.scores[(last - 1) // 2]} if self.scores else {})


@pytest.mark.parametrize("stop_at", [2, 4, 6, 7])
def test_stopped_anywhere_and_resumed_it_ends_the_same(tmp_path, stop_at):
    rows: list = []
    whole = Walk()
    fit(whole, log=lambda *row: rows.append(row))

    def stop(number, row):
        if number == stop_at:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "c.pt", "k", 0)
    with pytest.raises(KeyboardInterrupt):
        fit(Walk(), checkpoint, stop)
    resumed, seen = Walk(), []
    before = torch.get_rng_state()
    state = fit(resumed, checkpoint, lambda *row: seen.append(row))
    assert torch.equal(torch.get_rng_state(), before)
    assert resumed.model.weight.equal(whole.model.weight)
    assert seen == rows == state.history
    assert resumed.rounds == 4 - (stop_at - 1) // 2, "finished rounds are not done again"
    assert resumed.seen == whole.seen == {"rounds": 4}
    assert state.kept == 7
    again = Walk()
    fit(again, checkpoint)
    assert (again.rounds, again.model.weight.equal(whole.model.weight)) == (0, True)


def test_a_checkpoint_is_left_when_it_is_due_and_at_the_end(tmp_path):
    rare = Checkpoint(tmp_path / "c.pt", "k", 3600)
    found = []
    fit(Walk(), rare, lambda number, row: found.append(rare.path.exists()))
    assert not any(found)
    assert rare.load().done == 7


def test_another_key_is_another_training(tmp_path):
    fit(Walk(), Checkpoint(tmp_path / "c.pt", "one", 0))
    other = Walk()
    fit(other, Checkpoint(tmp_path / "c.pt", "two", 0))
    assert other.rounds == 4


@pytest.mark.parametrize(
    ("scores", "kept"), [([0.1, 0.9, 0.5, 0.9], 4), ([-2.0, -3.0, -4.0, -5.0], 0), ([0.1, 0.2, 0.3, 0.4], 7)]
)
def test_the_weights_at_the_first_highest_measure_are_kept(scores, kept):
    weights = {}
    trainer = Walk(scores=scores)
    state = fit(trainer, log=lambda number, row: weights.update({number: trainer.weights()["weight"]}))
    assert state.kept == kept
    assert trainer.model.weight.equal(weights[kept])


@pytest.mark.parametrize("stop_at", [2, 6])
def test_the_best_by_further_measures_are_kept_across_a_stop(tmp_path, stop_at):
    weights = {}

    def stop(number, row):
        weights[number] = trainer.weights()["weight"]
        if number == stop_at:
            raise KeyboardInterrupt

    trainer, checkpoint = Walk(scores=[0.1, 0.9, 0.5, 0.2]), Checkpoint(tmp_path / "c.pt", "k", 0)
    trainer.chosen_by, trainer.also_best = None, ("score", "loss", "nothing")
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, checkpoint, stop)
    trainer = Walk(scores=[0.1, 0.9, 0.5, 0.2])
    trainer.chosen_by, trainer.also_best = None, ("score", "loss", "nothing")
    state = fit(trainer, checkpoint, lambda number, row: weights.update({number: trainer.weights()["weight"]}))
    found = {name: (other["kept"], other["score"]) for name, other in state.others.items()}
    assert found == {"score": (4, 0.9), "loss": (7, 3.5)}
    assert state.others["loss"]["weights"]["weight"].equal(trainer.model.weight)
    if stop_at == 2:
        assert state.others["score"]["weights"]["weight"].equal(weights[4])
    assert state.kept == 7


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_one_sentence(tmp_path, value):
    checkpoint = Checkpoint(tmp_path / "c.pt", "k", 0)
    with pytest.raises(InputError, match=rf"^walk: the loss is {value} after step 2; lower walk\.rate$"):
        fit(Walk(loss=value), checkpoint)
    assert not checkpoint.path.exists()


def test_a_choice_that_is_no_number_is_one_sentence():
    with pytest.raises(InputError, match="walk: score is not a number; are there images"):
        fit(Walk(scores=[float("nan")] * 4))
