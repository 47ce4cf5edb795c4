"""The few-shot planner: one function for every method, rows that depend on their own photo alone."""

from collections import Counter
from itertools import product

import pytest
from pydantic import ValidationError

from figment.files import digest
from figment.labels import Label
from figment.planning.few_shot import Shot, Words, plan_few_shot
from figment.planning.generator_config import GeneratorConfig, Origin
from figment.planning.methods import Method
from figment.planning.plan import make_plan

GENERATOR = GeneratorConfig(model="some/model", guidance_scale=15, scheduler="DDIMScheduler")
PHONE, CUP = Label(name="cell_phone"), Label(name="cup")
SHOTS = [Shot("a" * 64, PHONE), Shot("b" * 64, PHONE), Shot("c" * 64, CUP)]
CONTEXTS = {"cell_phone": ["a red {name}", "a {name} at night"], "cup": [f"a {{name}} in place {i}" for i in range(10)]}
WORDS = Words("f" * 64, {"cell_phone": 0.5, "cup": 2.0})
SIGMAS = (0.005, 0.01, 0.025)  # DIAGen's
STACKED = (0.25, 0.5, 0.75, 1.0)  # DA-Fusion's
NAMES, CONCEPTS = Method(images=10), Method(images=10, concepts=True)
NOISE = Method(images=10, concepts=True, noise=SIGMAS)
PROMPTS = Method(images=10, concepts=True, contexts=True)
ALL = Method(images=10, concepts=True, noise=SIGMAS, contexts=True, weights="per_photo")


def rows(method: Method, shots=SHOTS, words=WORDS, stream=0):
    return list(plan_few_shot(shots, method, CONTEXTS, words, Origin(GENERATOR, "main", stream, "few_shot")))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (NAMES, "21d55d9f9aa3cfd038410d1df833dd8c34854c8dd35224c343b43c69566205a5"),
        (ALL, "25e689a1cc57f1cd5249136fa38ccf9667ecdba06769957fa92619e85bf15ff0"),
    ],
    ids=["names", "all"],
)
def test_ids_stay_what_they_were(method, expected):
    """Or every image that was ever made would have to be made again."""
    assert digest([row.image_id for row in rows(method)]) == expected


def test_a_lora_is_an_adapter_beside_the_words():
    words = Words(WORDS.adapter, WORDS.lengths, {"cup": f"{'e' * 64}*1.0"})
    both = rows(CONCEPTS.model_copy(update={"lora": True}), words=words)
    assert {(row.labels[0], row.adapter) for row in both} == {
        ("cell_phone", "f" * 64), ("cup", f"{'f' * 64}+{'e' * 64}*1.0"),
    }  # fmt: skip
    named = rows(NAMES.model_copy(update={"lora": True}), words=words)
    assert {(row.labels[0], row.adapter, row.trick) for row in named} == {
        ("cell_phone", "", "name_lora"), ("cup", f"{'e' * 64}*1.0", "name_lora"),
    }  # fmt: skip
    assert {row.adapter for row in rows(NAMES, words=words)} == {""}


@pytest.mark.parametrize(("invert", "mask"), [(False, "object"), (True, "background")])
def test_a_method_renders_a_photos_object_or_what_is_around_it(invert, mask):
    masked = Method(images=2, mask=True, invert=invert)
    planned = rows(masked, [Shot("a" * 64, PHONE, "object", "background")])
    assert {(row.mask, row.trick, row.initial_image) for row in planned} == {(mask, f"name_{mask}", "a" * 64)}


def test_methods_without_images_plan_none():
    assert rows(Method(augment=False)) == rows(Method()) == []


def test_real_guidance_says_the_true_name():
    planned = rows(NAMES)
    assert Counter(row.prompt for row in planned) == {"a photo of a cell phone": 20, "a photo of a cup": 10}
    assert {(row.concept, row.noise, row.adapter, row.strength) for row in planned} == {("", 0.0, "", 0.7)}
    assert {row.guidance_scale for row in planned} == {15}
    assert Counter(row.initial_image for row in planned) == {shot.image: 10 for shot in SHOTS}


def test_da_fusion_says_the_learned_word_and_stacks_strengths():
    planned = rows(CONCEPTS.model_copy(update={"strengths": STACKED, "images": 400, "guidance_scale": 7.5}))
    assert {(row.prompt, row.concept) for row in planned} == {
        ("a photo of a <cell_phone>", "cell_phone"),
        ("a photo of a <cup>", "cup"),
    }
    assert {(row.adapter, row.guidance_scale, row.noise) for row in planned} == {("f" * 64, 7.5, 0.0)}
    assert len(planned) == 1200
    for share in Counter(row.strength for row in planned).values():
        assert 240 < share < 360


def test_a_class_without_a_usable_word_is_called_by_its_name():
    planned = rows(ALL, words=Words("f" * 64, {"cup": 1.0}))
    phones = [row for row in planned if row.labels == ("cell_phone",)]
    assert {row.prompt for row in phones} <= {"a red cell phone", "a cell phone at night"}
    assert {(row.concept, row.adapter, row.noise) for row in phones} == {("", "", 0.0)}
    assert all("<cup>" in row.prompt for row in planned if row.labels == ("cup",))


def test_every_pair_of_prompt_and_noise_is_reached():
    cup = rows(ALL.model_copy(update={"images": 400}), shots=SHOTS[2:])
    prompts = [context.replace("{name}", "<cup>") for context in CONTEXTS["cup"]]
    counts = Counter((row.prompt, row.noise) for row in cup)
    assert set(counts) == set(product(prompts, (0.0, *SIGMAS)))


def test_relative_noise_is_in_lengths_of_the_word():
    planned = rows(NOISE.model_copy(update={"relative_noise": True, "images": 40}))
    for name, length in WORDS.lengths.items():
        assert {row.noise for row in planned if row.labels == (name,)} == {0.0, *(s * length for s in SIGMAS)}


@pytest.mark.parametrize(
    "method", [NAMES, CONCEPTS, NOISE, PROMPTS, ALL], ids=["names", "concepts", "noise", "prompts", "all"]
)
def test_more_photos_or_images_add_rows_and_change_none(method):
    few = {row.image_id for row in rows(method, SHOTS[:1])}
    assert few < {row.image_id for row in rows(method)}
    assert few < {row.image_id for row in rows(method.model_copy(update={"images": 12}), SHOTS[:1])}
    assert not few & {row.image_id for row in rows(method, SHOTS[:1], stream=1)}


def test_methods_that_differ_in_use_alone_share_their_images():
    weighted = CONCEPTS.model_copy(update={"weights": "per_photo"})
    assert rows(weighted) == rows(CONCEPTS)
    assert len(make_plan([*rows(weighted), *rows(CONCEPTS)])) == 30
    kinds = [method.kind for method in (NAMES, CONCEPTS, NOISE, PROMPTS, ALL)]
    assert kinds == ["name", "concept", "concept_noise", "concept_contexts", "concept_noise_contexts"]


def test_real_guidance_takes_contexts_too_unlike_the_published_code():
    planned = rows(Method(images=5, contexts=True), shots=SHOTS[:2])
    assert {row.prompt for row in planned} == {"a red cell phone", "a cell phone at night"}


@pytest.mark.parametrize(
    "options",
    [
        {"invert": True},
        {"noise": (0.1,)},
        {"noise": (0.0,), "concepts": True},
        {"strengths": (0.0,)},
        {"strengths": ()},
        {"alpha": 1.1},
    ],
)
def test_impossible_methods_are_refused(options):
    with pytest.raises(ValidationError):
        Method(**options)
