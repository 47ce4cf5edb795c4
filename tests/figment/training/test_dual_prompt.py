"""Dual prompts on pocket scenes: four seen classes and two unseen ones."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipConfig
from figment.datasets.tagged import TaggedImages
from figment.errors import InputError
from figment.labels import Label, LabelSpace
from figment.metrics.multilabel import mean_average_precision
from figment.training import dual_prompt
from figment.training.config import DualPromptTraining
from figment.training.dual_prompt import (
    Scorer,
    augmented,
    draw_batches,
    known_classes,
    learned_weights,
    learning_rate,
    train_dual_prompts,
)
from figment.training.randaugment import augment_image
from pocket.data_sets import artwork, draw_scenes

CLIP = ClipConfig(model="local-dir:models/pocket/clip")
CONFIG = DualPromptTraining(
    backbone=CLIP, image_size=32,
    context=4, fusion_scale=None, batches="mixed", epochs=3, batch_size=16, learning_rate=0.05, warmup_rate=0.01, cutout=0,
    randaugment=False, device="cpu",
)  # fmt: skip


def space_of(seen: tuple[str, ...], unseen: tuple[str, ...]) -> LabelSpace:
    return LabelSpace(labels=tuple(Label(name=name, unseen=name in unseen) for name in (*seen, *unseen)))


SPACE = space_of(("airplane", "car", "cat", "bird"), ("banana", "dog"))


def draw(ids, count: int, seed: int, unknown=()) -> TaggedImages:
    shown = [SPACE.names[i] for i in ids]
    pixels, targets = draw_scenes(artwork(["noto"]), SPACE.names, shown, count, seed, most=2)
    targets[:, list(unknown)] = -1
    return TaggedImages(pixels, targets)


@pytest.fixture(scope="module")
def real() -> TaggedImages:
    """Of seen classes; of the unseen nothing is known."""
    return draw(SPACE.seen_ids, 96, 0, SPACE.unseen_ids)


@pytest.fixture(scope="module")
def made() -> TaggedImages:
    """What stands for generated images, of unseen classes."""
    return draw(SPACE.unseen_ids, 32, 1, SPACE.seen_ids)


@pytest.fixture(scope="module")
def measured() -> TaggedImages:
    return draw(range(6), 100, 2)


def unmeasured(scorer: Scorer) -> dict[str, float]:
    """The last epoch is the best."""
    unmeasured.epoch += 1
    return {"validation/mAP": unmeasured.epoch}


unmeasured.epoch = 0


def learned(parts, space=SPACE, evaluate=unmeasured, checkpoint=None, **changes) -> dict[str, torch.Tensor]:
    trained = train_dual_prompts(parts, space, CONFIG.model_copy(update=changes), evaluate, checkpoint)
    return learned_weights(trained.model)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# The rate


def test_the_rate_falls_once_an_epoch_to_nothing_unlike_the_published_code_that_steps_twice():
    """There it is at nothing after 26 of 50 epochs and back at 1.98e-3 in the last."""
    rates = [learning_rate(2e-3, 1e-5, epoch, 50) for epoch in range(1, 51)]
    assert rates[0] == 1e-5
    assert rates[1] == pytest.approx(2e-3, rel=1e-2)
    assert all(a > b for a, b in pairwise(rates[1:]))
    assert rates[25] == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-5


@pytest.mark.parametrize("batches", ["alternating", "mixed"])
def test_both_kinds_of_images_are_learned_from_at_their_epochs_rate(real, made, batches):
    config = CONFIG.model_copy(update={"batches": batches})
    trained = train_dual_prompts([real, made], SPACE, config, unmeasured)
    expected = [learning_rate(config.learning_rate, config.warmup_rate, epoch, 3) for epoch in (1, 2, 3)]
    assert [row["rate"] for row in trained.history] == expected


# Batches


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 9), st.sampled_from(["alternating", "mixed"]))
def test_every_image_comes_once_an_epoch(first, second, size, how):
    parts = [TaggedImages(torch.empty(n, 3, 1, 1, dtype=torch.uint8), torch.empty(n, 1)) for n in (first, second) if n]
    if not parts:
        return
    drawn = draw_batches(parts, how, size, torch.Generator().manual_seed(0))
    for part in parts:
        rows = torch.cat([rows for batch in drawn for one, rows in batch if one is part])
        assert rows.sort().values.tolist() == list(range(len(part)))
    sizes = [sum(len(rows) for _, rows in batch) for batch in drawn]
    assert max(sizes) <= size
    assert sum(n < size for n in sizes) <= (len(parts) if how == "alternating" else 1)


def test_alternating_batches_are_of_one_kind_and_the_real_ones_come_first(real, made):
    drawn = draw_batches([real, made], "alternating", 16, torch.Generator().manual_seed(0))
    assert [[part is real for part, _ in batch] for batch in drawn] == [[True]] * 6 + [[False]] * 2


def test_mixed_batches_hold_both_kinds_in_an_order_of_the_epochs_own(real, made):
    drawn = draw_batches([real, made], "mixed", 16, torch.Generator().manual_seed(0))
    assert len(drawn) == 8
    assert sum(len(batch) == 2 for batch in drawn) >= 6
    other = draw_batches([real, made], "mixed", 16, torch.Generator().manual_seed(1))
    assert [rows.tolist() for _, rows in drawn[0]] != [rows.tolist() for _, rows in other[0]]


# Classes


def test_what_nothing_is_known_of_is_no_class_of_the_batch(real, made):
    generator = torch.Generator().manual_seed(0)
    assert known_classes(real.targets, None, generator) == list(SPACE.seen_ids)
    assert known_classes(made.targets, None, generator) == list(SPACE.unseen_ids)
    both = torch.cat([real.targets, made.targets])
    assert known_classes(both, None, generator) == list(range(6))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_some_classes_are_drawn_where_there_are_more(classes, most, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.zeros(3, 2 * classes, dtype=torch.int8)
    targets[:, ::2] = -1
    found = known_classes(targets, most, generator)
    assert found == sorted(set(found))
    assert len(found) == min(classes, most)
    assert all(i % 2 for i in found)
    draws = {tuple(known_classes(targets, most, generator)) for _ in range(20)}
    assert (len(draws) > 1) == (most < classes)


def test_a_real_image_teaches_nothing_of_unseen_classes_unless_unknown_is_negative(real):
    """Whichever they are: other unseen classes, the same weights."""
    other = space_of(SPACE.names[:4], ("bicycle", "truck"))
    assert equal(learned([real], epochs=1), learned([real], other, epochs=1))
    assert not equal(
        learned([real], epochs=1, unknown="negative"), learned([real], other, epochs=1, unknown="negative")
    )


def test_neither_does_it_beside_a_made_one_that_knows_them(real, made):
    """The loss of both together is that of each alone: nothing of the one is asked of the other's classes."""
    sums = {}
    for name, parts in (("real", [real]), ("made", [made]), ("both", [real, made])):
        config = CONFIG.model_copy(update={"epochs": 1, "warmup_rate": 1e-9, "batch_size": 128})
        trained = train_dual_prompts(parts, SPACE, config, unmeasured)
        sums[name] = trained.history[0]["loss"] * sum(map(len, parts))
    assert sums["both"] == pytest.approx(sums["real"] + sums["made"], rel=1e-4)


def test_fewer_classes_a_batch_train_too(real):
    few = learned([real], epochs=1, classes_per_batch=2)
    assert not equal(few, learned([real], epochs=1))


# Training


@pytest.mark.parametrize("fusion_scale", [None, 0.1])
def test_a_few_epochs_lower_the_loss_and_beat_chance_on_all_classes(real, made, measured, fusion_scale):
    def evaluate(scorer: Scorer) -> dict[str, float]:
        scores = scorer(measured.pixels)
        return {
            "validation/mAP": mean_average_precision(scores, measured.targets),
            "unseen": mean_average_precision(scores[:, 4:], measured.targets[:, 4:]),
        }

    rates = {"learning_rate": 0.003, "warmup_rate": 0.001, "fusion_learning_rate": 0.01}
    config = CONFIG.model_copy(update={"fusion_scale": fusion_scale} | rates)
    trained = train_dual_prompts([real, made], SPACE, config, evaluate)
    first, *_, last = trained.history
    assert last["loss"] < 0.8 * first["loss"]
    chance = float(measured.targets.float().mean())
    assert last["validation/mAP"] > chance + 0.1
    assert last["unseen"] > float(measured.targets[:, 4:].float().mean()) + 0.1
    assert evaluate(Scorer(trained.model))["validation/mAP"] == max(row["validation/mAP"] for row in trained.history)


def test_the_best_epochs_weights_are_kept(real):
    """The first epoch has the same rate however many follow."""
    measures = iter([0.5, 0.4, 0.5])
    config = CONFIG.model_copy(update={"epochs": 3})
    trained = train_dual_prompts([real], SPACE, config, lambda _: {"validation/mAP": next(measures)})
    assert trained.best_epoch == 1
    assert equal(learned_weights(trained.model), learned([real], epochs=1))


@pytest.mark.parametrize("batches", ["alternating", "mixed"])
def test_an_interrupted_training_ends_with_the_same_weights(real, made, tmp_path, batches):
    """With all that draws random numbers or has a state of its own."""
    few = [TaggedImages(part.pixels[:20], part.targets[:20]) for part in (real, made)]
    changes = {
        "batches": batches, "fusion_scale": 0.1, "cutout": 0.5, "randaugment": True, "classes_per_batch": 3, "epochs": 3,
    }  # fmt: skip
    checkpoint = Checkpoint(tmp_path / "training.pt", "key", 0)

    def stop(scorer: Scorer) -> dict[str, float]:
        if checkpoint.path.exists():
            raise KeyboardInterrupt
        return unmeasured(scorer)

    whole = learned(few, **changes)
    with pytest.raises(KeyboardInterrupt):
        learned(few, evaluate=stop, checkpoint=checkpoint, **changes)
    assert checkpoint.load().done == 1
    assert equal(learned(few, checkpoint=checkpoint, **changes), whole)


# Views

AUGMENTED = {"cutout": 0.5, "randaugment": True}


@pytest.fixture
def few(real, made) -> list[TaggedImages]:
    return [TaggedImages(part.pixels[:6], part.targets[:6]) for part in (real, made)]


def in_turn(self, batches, epoch):
    """Regions as one process makes them, image by image."""
    c = self.config
    for batch in batches:
        found = []
        for part, rows in batch:
            seeds = [(c.seed, epoch, i) for i in rows.tolist()]
            views = [augment_image(part.pixels[seed[-1]], c.cutout, c.randaugment, seed) for seed in seeds]
            found.append(self.model.regions(self.prepare(torch.stack(views))))
        yield torch.cat(found)


def test_worker_processes_change_no_bit_of_the_weights(few, monkeypatch):
    changes = {**AUGMENTED, "epochs": 1, "batch_size": 4}
    monkeypatch.setattr(dual_prompt, "FEW", 0)
    found = learned(few, **changes)
    monkeypatch.setattr(dual_prompt._Trainer, "regions", in_turn)
    assert equal(found, learned(few, **changes))


def test_views_of_many_images_are_made_in_worker_processes_and_only_where_images_change(few, tmp_path, monkeypatch):
    def note(image, *rest):
        (tmp_path / str(os.getpid())).touch()
        return augment_image(image, *rest)

    def made_by(config) -> tuple[list[list[torch.Tensor]], set[str]]:
        before = torch.get_rng_state()
        views = list(augmented(batches, config, 1))
        assert torch.equal(torch.get_rng_state(), before)
        names = {path.name for path in tmp_path.iterdir()}
        for name in names:
            Path(tmp_path, name).unlink()
        return views, names

    monkeypatch.setattr(dual_prompt, "augment_image", note)
    batches = draw_batches(few, "mixed", 4, torch.Generator().manual_seed(0))
    changing, own = CONFIG.model_copy(update=AUGMENTED), {str(os.getpid())}
    here, processes = made_by(changing)
    assert processes == own
    monkeypatch.setattr(dual_prompt, "FEW", 11)
    there, processes = made_by(changing)
    assert processes
    assert not processes & own
    for first, second in zip(here, there, strict=True):
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert made_by(CONFIG)[1] == own


# What cannot be


def test_a_context_that_does_not_fit_is_one_sentence(real):
    with pytest.raises(
        InputError, match=r"training: 'airplane': 4 tokens around 64 of context do not fit .* 24; use a short"
    ):
        learned([real], context=64)


def test_images_without_any_class_are_one_sentence(real):
    nothing = TaggedImages(real.pixels, real.targets.clamp(max=0))
    for parts in ([], [nothing]):
        with pytest.raises(InputError, match="training: no image has any of the classes; there is nothing to learn"):
            learned(parts)


def test_a_loss_that_is_no_number_is_one_sentence(real):
    with pytest.raises(InputError, match=r"training: the loss is nan after epoch \d; lower training.learning_rate"):
        learned([real], learning_rate=1e30, warmup_rate=1e30)
