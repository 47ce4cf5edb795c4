from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from figment.files import digest
from figment.labels import LabelSpace
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import make_plan
from figment.prompts.pair_book import template_prompts
from figment.prompts.pairs import label_pairs
from figment.prompts.tricks import Prompt
from tests.plans import plan_tailored

SPACE = LabelSpace.of(["dog", "cat", "bus"])
GENERATOR = GeneratorConfig(model="m", width=32, height=32, guidance_scale=3.0, scheduler="EulerDiscreteScheduler")
BOOK = [
    *(Prompt(f"a dog and a cat {i}", ("dog", "cat"), "language_model") for i in range(3)),
    Prompt("a bus", ("bus",), "language_model"),
]


def test_every_set_of_labels_gets_its_number_and_its_prompts_take_turns():
    rows = list(plan_tailored(BOOK, GENERATOR, "r1", 5, 7))
    assert Counter(row.labels for row in rows) == {("dog", "cat"): 5, ("bus",): 5}
    assert [row.prompt[-1] for row in rows if len(row.labels) == 2] == ["0", "1", "2", "0", "1"]
    assert len({row.image_id for row in rows}) == 10
    for row in rows:
        assert (row.recipe, row.trick, row.stream, row.revision) == ("tailored", "language_model", 7, "r1")
        assert (row.model, row.guidance_scale, row.scheduler) == ("m", 3.0, "EulerDiscreteScheduler")


def test_ids_stay_what_they_were():
    """Or every image that was ever made would have to be made again."""
    ids = [row.image_id for row in plan_tailored(BOOK, GENERATOR, "r1", 5, 7)]
    assert digest(ids) == "f15706deb12962b1e5844a3dd139eedeb35e8a2cd2c4a3332eed32352c7f462d"


def test_the_adapter_and_the_negative_prompt_decide_the_image():
    plain = next(plan_tailored(BOOK, GENERATOR, "r1", 1, 0))
    tuned = next(plan_tailored(BOOK, GENERATOR, "r1", 1, 0, "ab" * 32, "blurry"))
    assert (tuned.adapter, tuned.negative_prompt) == ("ab" * 32, "blurry")
    assert (plain.adapter, plain.negative_prompt) == ("", "")
    assert tuned.image_id != plain.image_id


@given(st.integers(1, 6), st.integers(0, 6))
def test_further_replicates_continue_the_plan(first, more):
    """As a quota asks for them, of some sets alone."""
    prompts = template_prompts(label_pairs(SPACE))
    start = make_plan(plan_tailored(prompts, GENERATOR, "r1", first, 0))
    whole = make_plan(plan_tailored(prompts, GENERATOR, "r1", first + more, 0))
    cell = ("template", ("dog", "bus"))
    added = make_plan(plan_tailored(prompts, GENERATOR, "r1", {cell: range(first, first + more)}, 0))
    assert len(added) == more
    ids = set(whole["image_id"].to_pylist())
    assert set(start["image_id"].to_pylist()) | set(added["image_id"].to_pylist()) <= ids
    assert not set(start["image_id"].to_pylist()) & set(added["image_id"].to_pylist())
    assert {tuple(row["labels"]) for row in added.to_pylist()} <= {cell[1]}
