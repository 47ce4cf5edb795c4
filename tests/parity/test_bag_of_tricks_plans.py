"""Golden values of the plans of "Diversity is Definitely Needed": wording, guidance, noise, the combined sets."""

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from figment.errors import InputError
from figment.labels import LabelSpace
from figment.planning.bag_of_tricks import (
    split_evenly,
    training_sets,
)
from figment.planning.from_prompts import draw_once
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import make_plan
from figment.prompts.tricks import Wording, build_tricks, write_prompts
from tests.plans import plan_bag_of_tricks, replicates_of

GENERATOR = GeneratorConfig(model="some/model", scheduler="DDIMScheduler")
TRICKS = ("base_class", "class_prompt", "multi_domain", "random_guidance")
ROOM = {"cifar10": 240_000, "cifar100": 240_000, "eurosat": 108_000}  # generations of the whole paper


def texts(trick: str, space: LabelSpace, wording: Wording | None = None, domains=None) -> list[str]:
    return [prompt.text for prompt in write_prompts(space, build_tricks([trick], domains, 7.5, wording))]


def planned(space, tricks, images, wording=None, stream=0):
    chosen = build_tricks(tricks, None, 7.5, wording)
    return make_plan(
        plan_bag_of_tricks(write_prompts(space, chosen), chosen, GENERATOR, "main", images, stream)
    ).to_pandas()


def test_the_cifar_grammar_has_its_ten_domains_in_order():
    domains = (
        "photo, drawing, painting, sketch, collage, poster, digital art image, rock drawing, stick figure, 3D rendering"
    )
    assert texts("multi_domain", LabelSpace.of(["dog"])) == [f"a {domain} of a dog" for domain in domains.split(", ")]


def test_the_eurosat_grammar_speaks_of_a_satellite_in_five_styles():
    space = LabelSpace.load(Path("configs/labels/eurosat.yaml")).choose(["River", "AnnualCrop"])
    styles = ("realistic photo", "drawing", "painting", "sketch", "3D rendering")
    found = texts("multi_domain", space, Wording(grammar="eurosat"))
    assert found[:5] == [f"a satellite photo of a River in the style of a {style}" for style in styles]
    assert found[5] == "a satellite photo of a Annual Crop in the style of a realistic photo"
    assert texts("base_class", space, Wording(grammar="eurosat"))[0] == "a satellite photo of a River"


def test_own_domains_take_the_place_of_the_papers():
    assert texts("multi_domain", LabelSpace.of(["dog"]), domains=["mosaic"]) == ["a mosaic of a dog"]


def test_random_guidance_is_drawn_for_every_image_and_noted_in_its_row():
    plan = planned(LabelSpace.of(["dog"]), ["random_guidance"], 10_000)
    assert plan.guidance_scale.between(1, 5).all()
    assert plan.guidance_scale.nunique() > 3000  # three decimals
    assert plan.guidance_scale.mean() == pytest.approx(3, abs=0.05)
    assert set(plan.prompt) == {"an image of a dog"}


def test_as_published_it_is_one_whole_number_a_run_and_the_article_is_lost():
    plan = planned(LabelSpace.of(["dog", "cat"]), ["random_guidance"], 50, Wording(as_published=True))
    assert set(plan.guidance_scale) == {4.0}  # of python's generator at seed 0
    assert set(plan.prompt) == {"an image of dog", "an image of cat"}
    draws = Counter(draw_once((1.0, 5.0), seed) for seed in range(500))
    assert set(draws) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert draws[random.Random(3).randint(1, 5)] > 50


def test_the_published_switch_leaves_the_other_tricks_alone():
    space = LabelSpace.of(["dog", "cat"])
    own, published = (planned(space, TRICKS, 10, Wording(as_published=flag)) for flag in (False, True))
    others = {flag: set(t[t.trick != "random_guidance"].image_id) for flag, t in ((0, own), (1, published))}
    assert others[0] == others[1]


@given(st.integers(1, 60))
@settings(max_examples=10, deadline=None)
def test_every_class_gets_exactly_the_images_asked_for_split_over_domains(count):
    plan = planned(LabelSpace.of(["dog", "cat"]), TRICKS, count)
    assert set(plan.groupby(["trick", plan["labels"].str[0]]).size()) == {count}
    domains = plan[plan.trick == "multi_domain"].groupby(["domain", plan["labels"].str[0]]).size()
    assert domains.max() - domains.min() <= 1
    assert len(domains) == 2 * min(10, count)


def test_paired_noise_gives_all_domains_the_same_start_and_no_other_two_images():
    """Figure 2 of the paper. Without the switch no two images share noise, unlike the published code."""
    space = LabelSpace.of(["dog", "cat"])
    paired = planned(space, TRICKS, 20, Wording(paired_noise=True))
    domains_of = defaultdict(set)
    for row in paired[paired.trick == "multi_domain"].itertuples():
        domains_of[row.seed].add(row.domain)
    assert {len(domains) for domains in domains_of.values()} == {10}
    assert len(domains_of) == 2 * 2  # classes x groups
    assert paired[paired.trick != "multi_domain"].seed.is_unique
    assert planned(space, TRICKS, 20).seed.is_unique


def test_homonyms_are_hinted_at_and_articles_are_right_in_the_extra_trick_only():
    space = LabelSpace.load(Path("configs/labels/cifar100.yaml"))
    chosen = space.choose(["apple", "beetle", "orange", "ray", "otter", "bus"])
    assert texts("clear_name", chosen) == [
        "an image of an apple fruit", "an image of a beetle insect", "an image of an orange fruit",
        "an image of a ray fish", "an image of an otter", "an image of a bus",
    ]  # fmt: skip
    assert texts("base_class", chosen)[0] == "an image of a apple"
    assert texts("class_prompt", chosen)[3] == "ray"
    assert texts("clear_name", chosen, Wording(grammar="eurosat"))[4] == "a satellite photo of an otter"


def sets_of(name: str) -> tuple[dict, dict[str, dict[str, int]]]:
    p = yaml.safe_load(Path(f"configs/paper/{name}.yaml").read_text())["parameters"]
    return p, training_sets(p["tricks"], p["images_per_class"], p["unions"], p["fixed_size"])


@pytest.mark.parametrize(
    ("name", "union", "tricks", "images"),
    [
        ("cifar10", "combined", set(TRICKS), 240_000),
        ("cifar100", "best", set(TRICKS) - {"class_prompt"}, 180_000),
        ("eurosat", "combined", set(TRICKS) - {"class_prompt"}, 81_000),
        ("eurosat", "best", {"random_guidance"}, 54_000),
    ],
)
def test_the_papers_sets_have_their_sizes(name, union, tricks, images):
    p, sets = sets_of(name)
    assert set(sets[union]) == tricks
    assert sum(sets[union].values()) * len(p["classes"]) == images
    alone = 27_000 if name == "eurosat" else 60_000
    assert all(sum(sets[trick].values()) * len(p["classes"]) == alone for trick in p["tricks"])
    space = LabelSpace.load(Path(p["labels"])).choose(p["classes"])
    book = write_prompts(space, build_tricks(p["tricks"], None, 7.5, Wording(**p["wording"])))
    assert sum(len(replicates) for replicates in replicates_of(sets, book).values()) == ROOM[name]
    fixed = [s for title, s in sets.items() if title.endswith("at fixed size")]
    assert {sum(shares.values()) for shares in fixed} == {p["images_per_class"]}


def test_every_image_of_a_union_says_which_trick_made_it():
    space = LabelSpace.of(["dog", "cat"])
    sets = training_sets(TRICKS, 6, {"best": {"random_guidance": 2, "base_class": 1}}, fixed_size=True)
    chosen = build_tricks(TRICKS, None, 7.5)
    book = write_prompts(space, chosen)
    images = replicates_of(sets, book)
    plan = make_plan(plan_bag_of_tricks(book, chosen, GENERATOR, "main", images, 0)).to_pandas()
    assert plan.groupby("trick").size().to_dict() == dict.fromkeys(TRICKS, 12) | {"random_guidance": 24}
    assert set(planned(space, TRICKS, 6).image_id) < set(plan.image_id)  # larger sets keep the smaller ones' images


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_a_fixed_size_is_shared_evenly(images, count):
    shares = split_evenly(images, [str(i) for i in range(count)])
    assert sum(shares.values()) == images
    assert max(shares.values()) - min(shares.values()) <= 1


def test_a_union_of_what_is_not_made_is_refused():
    with pytest.raises(InputError, match=r"unions\.best: multidomain: 1; expected one of base_class, "):
        training_sets(TRICKS, 6, {"best": {"multidomain": 1}}, fixed_size=False)
    with pytest.raises(InputError, match=r"unions\.best: base_class: 2; a quota gives every trick the same number"):
        training_sets(TRICKS, 6, {"best": {"base_class": 2}}, fixed_size=False, largest=1)


@pytest.mark.parametrize("name", ["../x", "base_class", "real", ""])
def test_a_union_has_a_name_of_its_own_that_can_be_a_folders(name):
    with pytest.raises(InputError, match="unions"):
        training_sets(TRICKS, 6, {name: {"base_class": 1}}, fixed_size=False)


def test_by_default_all_tricks_are_combined_if_there_are_several():
    assert training_sets(["a", "b"], 5, None, False) == {"a": {"a": 5}, "b": {"b": 5}, "combined": {"a": 5, "b": 5}}
    assert training_sets(["a"], 5, None, True) == {"a": {"a": 5}}
