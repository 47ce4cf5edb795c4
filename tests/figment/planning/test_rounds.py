import pytest
from hypothesis import given
from hypothesis import strategies as st

from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import make_plan, union
from figment.planning.planners import ImportedPlanner, Planning, PromptPlanner
from figment.planning.rounds import (
    UNLIKE,
    History,
    Round,
    RoundsConfig,
    budgets,
    candidate_cells,
    check_rounds,
    confused_classes,
    in_round,
    reason_to_stop,
)
from figment.planning.row import Row
from figment.prompts.kinds import TrickPrompts

ERRORS = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(ERRORS, st.integers(0, 500), st.floats(0, 1))
def test_budgets_sum_to_the_images_and_follow_the_errors(errors, images, smoothing):
    found = budgets(errors, images, smoothing)
    assert sum(found) == images
    assert min(found) >= 0
    for one, own in zip(errors, found, strict=True):
        for other, others in zip(errors, found, strict=True):
            assert own >= others - 1 or one <= other


def test_smoothing_gives_every_class_a_share():
    assert budgets([0.9, 0.0, 0.1], 100, 0.0) == [90, 0, 10]
    assert budgets([0.9, 0.0, 0.1], 130, 0.1) == [100, 10, 20]
    assert budgets([0, 0, 0, 0], 10, 0.0) == [3, 3, 2, 2]


def test_a_class_is_confused_with_what_it_is_called_most_often_instead():
    names = ("cat", "deer", "dog")
    assert confused_classes([[5, 0, 0], [2, 1, 7], [1, 0, 9]], names) == {"deer": "dog", "dog": "cat"}


@given(st.integers(0, 60), st.integers(0, 60), st.booleans())
def test_candidates_are_as_many_as_wanted_of_each_class_and_half_of_them_a_chat_models(cat, dog, asked):
    shares = {"base_class": 1, "multi_domain": 3}
    cells = candidate_cells({"cat": cat, "dog": dog}, shares, {"dog"} if asked else (), 100)
    for name, wanted in (("cat", cat), ("dog", dog)):
        own = {trick: len(range_) for (trick, labels), range_ in cells.items() if labels == (name,)}
        assert sum(own.values()) == wanted
        assert abs(own.get("multi_domain", 0) - 3 * own.get("base_class", 0)) <= 3
        if name == "dog" and asked:
            assert abs(own.get(UNLIKE, 0) - wanted / 2) <= 1
    assert all(range_.start == 100 for range_ in cells.values())


def row(replicate: int) -> Row:
    return Row(
        prompt="a dog", labels=("dog",), recipe="r", trick="t", model="m", revision="1", width=32, height=32,
        guidance_scale=4.0, num_inference_steps=12, scheduler="DDIMScheduler", stream=0, replicate=replicate,
    )  # fmt: skip


def test_a_round_adds_rows_and_changes_no_id():
    first = make_plan(row(i) for i in range(5))
    second = make_plan(in_round((row(i) for i in range(5)), "round_1", 1, "a" * 64))
    third = make_plan(in_round((row(i) for i in range(5)), "round_1", 1, "b" * 64))
    assert len(union(first, second, third)) == 15
    kept = union(first, second)
    assert set(first["image_id"].to_pylist()) < set(kept["image_id"].to_pylist())
    assert union(kept, first).equals(kept)


def rounds(*gains, expected=None, errors=None) -> list[Round]:
    """The first training, then a round for each gain."""
    found = [Round(number=0, images=100, error=(0.5, 0.4, 0.6), errors=errors or {"dog": 0.5})]
    found += [
        Round(number=i, images=100 + 50 * i, error=(0.4, 0.3, 0.5), errors=errors or {"dog": 0.4}, gain=gain)
        for i, gain in enumerate(gains, 1)
    ]
    found[-1] = found[-1].model_copy(update={"expected": expected})
    return found


BETTER, UNDECIDED = (0.05, 0.01, 0.09), (0.01, -0.02, 0.04)


@pytest.mark.parametrize(
    ("done", "stop", "reason"),
    [
        (rounds(), "auto", ""),
        (rounds(BETTER), "auto", ""),
        (rounds(UNDECIDED), "auto", ""),
        (rounds(UNDECIDED, BETTER, UNDECIDED), "auto", ""),
        (rounds(BETTER, UNDECIDED, UNDECIDED), "auto", "two rounds in a row are undecided"),
        (rounds(BETTER, UNDECIDED, UNDECIDED), "max", ""),
        (rounds(BETTER, BETTER, expected=(0.02, 0.0, 0.1)), "auto", ""),
        (rounds(BETTER, BETTER, expected=(0.004, 0.0, 0.1)), "auto", "would gain 0.4 points"),
        (rounds(BETTER, BETTER, expected=(0.004, 0.0, 0.1)), "max", ""),
        (rounds(BETTER, BETTER, BETTER, BETTER), "auto", "All 4 rounds are done"),
        (rounds(BETTER, BETTER, BETTER, BETTER), "max", "All 4 rounds are done"),
    ],
)
def test_rounds_stop_where_the_next_would_not_pay(done, stop, reason):
    found = reason_to_stop(done, RoundsConfig(images=50, stop=stop))
    assert (reason in found) if reason else not found


def test_a_class_told_only_among_its_own_images_is_missing_how_it_looks():
    errors = {"deer": 0.95, "dog": 0.95, "cat": 0.2}
    last = Round(
        number=1, images=9, error=(0.5, 0.4, 0.6), errors=errors, synthetic={"deer": 0.9, "dog": 0.3, "cat": 0.9}
    )
    assert History(rounds=(last,), stop="", validation_images=9).missing == ["deer"]


def planning(planner, **values) -> Planning:
    return Planning(recipe="r", planner=planner, generator=GeneratorConfig(model="m"), **values)


def test_rounds_need_a_planner_that_can_plan_more_of_one_class_and_no_quota():
    tricks = (TrickPrompts(tricks=("base_class",)),)
    check_rounds(planning(PromptPlanner(images=4), prompts=tricks), quota=False)
    with pytest.raises(InputError, match=r"rounds: a quota"):
        check_rounds(planning(PromptPlanner(images=4), prompts=tricks), quota=True)
    with pytest.raises(InputError, match=r"rounds: planner\.kind: imported"):
        check_rounds(planning(ImportedPlanner(), imported=("folder",)), quota=False)
