from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from figment.labels import Label, LabelSpace
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.pairs import plan_pairs
from figment.planning.row import Row

GENERATOR = GeneratorConfig(
    model="m", width=32, height=32, guidance_scale=4.0, num_inference_steps=12, scheduler="DDIMScheduler"
)


def space(count: int, confusable=()) -> LabelSpace:
    labels = tuple(Label(name=f"thing_{i}") for i in range(count))
    return LabelSpace(labels=labels, confusable=tuple((f"thing_{i}", f"thing_{j}") for i, j in confusable)).checked()


def plan(labels: LabelSpace, wanted, images: int) -> list[Row]:
    return list(plan_pairs(labels, wanted, images, Origin(GENERATOR, "r", 0, "pairs")))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 30), st.data())
def test_every_wanted_label_gets_its_images_and_no_image_is_asked_for_twice(count, images, data):
    wanted = data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))
    rows = plan(space(count), wanted, images)
    assert len({row.image_id for row in rows}) == len(rows) == images * len(wanted)
    singles = Counter(row.labels[0] for row in rows if len(row.labels) == 1)
    assert singles == {f"thing_{i}": images - images // 2 for i in wanted}
    assert all({f"thing_{i}" for i in wanted} & set(row.labels) for row in rows)


def test_the_other_labels_take_turns():
    rows = plan(space(5), [1], 16)
    partners = Counter(name for row in rows if len(row.labels) == 2 for name in row.labels if name != "thing_1")
    assert partners == {"thing_0": 2, "thing_2": 2, "thing_3": 2, "thing_4": 2}


def test_confusable_labels_never_share_a_image():
    rows = plan(space(3, confusable=[(0, 1)]), [0, 1], 10)
    assert {frozenset(row.labels) for row in rows if len(row.labels) == 2} == {
        frozenset(("thing_0", "thing_2")), frozenset(("thing_1", "thing_2")),
    }  # fmt: skip


def test_a_label_that_is_confusable_with_all_others_is_shown_alone():
    rows = plan(space(2, confusable=[(0, 1)]), [0], 4)
    assert [row.labels for row in rows] == [("thing_0",)] * 4


def test_prompts_say_what_is_shown():
    rows = plan(space(2), [0], 2)
    assert [row.prompt for row in rows] == ["a photo of a thing 0", "a photo of a thing 0 and a thing 1"]
