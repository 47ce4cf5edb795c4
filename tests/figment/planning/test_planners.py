"""The kinds of planner: what each row says, and that ids depend on nothing else."""

import pytest

from figment.labels import LabelSpace
from figment.planning.few_shot import Shot
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.methods import Method
from figment.planning.pairs import plan_pairs
from figment.planning.planners import Given, MethodPlanner, PairPlanner, PhotoPlanner, Planning, PromptPlanner
from figment.planning.words import Words
from figment.prompts.kinds import ContextPrompts, PairPrompts, TrickPrompts, write_book
from tests.plans import plan_bag_of_tricks, plan_tailored

SPACE = LabelSpace.model_validate(
    {
        "labels": [
            {"name": "car", "synonyms": ["automobile"]},
            {"name": "ship", "unseen": True},
            {"name": "dog", "unseen": True},
        ]
    }
)
GENERATOR = GeneratorConfig(model="some/model", scheduler="DDIMScheduler", guidance_scale=4.0)
TRICKS = TrickPrompts(tricks=("base_class", "random_guidance"))
CONTEXTS = ContextPrompts(templates=("a photo of a {name} at night", "a photo of a {name} on the grass"))
WORDS = Words("ab" * 32, {"car": 2.0, "ship": 1.0})


def planned(planner, prompts=(), recipe="custom", **given):
    planning = Planning(recipe=recipe, planner=planner, generator=GENERATOR, prompts=prompts, seed=3)
    book = write_book(prompts, SPACE, 4.0, None).prompts
    return list(planner.rows(Given(SPACE, book, "main", **given), planning))


def test_the_papers_plans_are_this_planners():
    rules = TRICKS.rules(4.0)
    book = write_book([TRICKS], SPACE, 4.0, None).prompts
    old = list(plan_bag_of_tricks(book, rules, GENERATOR, "main", 4, 3))
    assert planned(PromptPlanner(images=4), (TRICKS,), "bag_of_tricks") == old
    pairs = PairPrompts()
    book = write_book([pairs], SPACE, 4.0, None).prompts
    old = list(plan_tailored(book, GENERATOR, "main", 4, 3, "cd" * 32))
    assert planned(PromptPlanner(images=4), (pairs,), "tailored", adapter="cd" * 32) == old
    old = list(plan_pairs(SPACE, SPACE.unseen_ids, 4, Origin(GENERATOR, "main", 3, "pairs")))
    assert planned(PairPlanner(images=4), recipe="pairs") == old


def test_prompts_of_several_kinds_are_planned_together():
    rows = planned(PromptPlanner(images={"base_class": 1, "random_guidance": 3, "contexts": 2}), (TRICKS, CONTEXTS))
    counts = {(row.trick, row.labels[0]): 0 for row in rows}
    for row in rows:
        counts[row.trick, row.labels[0]] += 1
    assert counts == {
        (t, n): c for t, c in (("base_class", 1), ("random_guidance", 3), ("contexts", 2)) for n in SPACE.names
    }
    assert {row.guidance_scale for row in rows if row.trick != "random_guidance"} == {4.0}
    assert len({row.guidance_scale for row in rows if row.trick == "random_guidance"}) == 9
    assert {row.prompt for row in rows if row.trick == "contexts" and row.labels == ("car",)} == {
        "a photo of a car at night", "a photo of a car on the grass"
    }  # fmt: skip


def test_a_learned_word_stands_where_a_prompt_names_its_class():
    rows = planned(PromptPlanner(images=1), (TRICKS, CONTEXTS), words=WORDS)
    for row in rows:
        (name,) = row.labels
        learned = name in WORDS.lengths
        assert (row.concept, row.adapter) == ((name, WORDS.adapter) if learned else ("", ""))
        assert (f"<{name}>" in row.prompt) == learned
    plain = planned(PromptPlanner(images=1), (TRICKS, CONTEXTS))
    assert [r for r in rows if r.labels == ("dog",)] == [r for r in plain if r.labels == ("dog",)]


@pytest.mark.parametrize("name", ["cars", "automobile", "Car"])
def test_a_class_is_named_by_its_synonyms_and_plural_too(name):
    contexts = ContextPrompts(templates=("a {name}",))
    book = [
        prompt.__class__(f"two {name}", ("car",), "contexts")
        for prompt in write_book([contexts], SPACE, 4.0, None).prompts[:1]
    ]
    planning = Planning(recipe="custom", planner=PromptPlanner(images=1), generator=GENERATOR, prompts=(contexts,))
    (row,) = planning.planner.rows(Given(SPACE, book, "main", words=WORDS), planning)
    assert (row.prompt, row.concept) == ("two <car>", "car")


def test_a_prompt_of_two_classes_or_of_none_keeps_its_words():
    rows = planned(PromptPlanner(images=1), (PairPrompts(),), words=WORDS)
    assert all(row.concept == "" and "<" not in row.prompt for row in rows if len(row.labels) == 2)
    assert any(row.concept for row in rows if len(row.labels) == 1)


@pytest.mark.parametrize(("given", "adapter"), [({"words": WORDS}, WORDS.adapter), ({"adapter": "cd" * 32}, "cd" * 32)])
def test_images_of_photos_have_what_changed_the_generator(given, adapter):
    shots = [Shot("ef" * 32, SPACE.labels[0])]
    rows = planned(PhotoPlanner(images=6), (CONTEXTS,), shots=shots, **given)
    assert {row.initial_image for row in rows} == {"ef" * 32}
    assert {row.adapter for row in rows} == {adapter}
    assert {row.recipe for row in rows} == {"custom"}
    word = "<car>" if "words" in given else "car"
    assert {row.prompt for row in rows} == {f"a photo of a {word} at night", f"a photo of a {word} on the grass"}


def test_the_scales_that_a_plan_asks_for():
    def scales(planner, *prompts):
        return Planning(recipe="custom", planner=planner, generator=GENERATOR, prompts=prompts).scales

    assert scales(PromptPlanner(images=1), TRICKS) == (1.0, 4.0, 5.0)
    assert scales(PromptPlanner(images=1), TrickPrompts(tricks=("random_guidance",))) == (1.0, 5.0)
    assert scales(PromptPlanner(images=1), TrickPrompts(tricks=("random_guidance",)), CONTEXTS) == (1.0, 4.0, 5.0)
    assert scales(PairPlanner(images=1)) == (4.0,)
    assert scales(PhotoPlanner(images=1, guidance_scale=2.0), CONTEXTS) == (2.0,)


def test_imported_images_are_dealt_to_the_photos_of_their_class_in_turn():
    shots = [Shot(f"{i}" * 64, SPACE.labels[i % 2]) for i in range(4)]
    planner = MethodPlanner(methods={"own": Method(images=1), "both": Method(imported=True)})
    made = [row for row in planned(PromptPlanner(images=5), (TRICKS,)) if row.labels != ("dog",)]
    used = list(planner.uses_of_imported(Given(SPACE, [], "main", shots=shots), made))
    assert [row for _, _, row in used] == made
    assert {name for name, _, _ in used} == {"both"}
    for name, photos in (("car", [0, 2]), ("ship", [1, 3])):
        numbers = [number for _, number, row in used if row.labels == (name,)]
        assert numbers == [photos[i % 2] for i in range(10)]
