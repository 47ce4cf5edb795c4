"""Golden values of "Diversity is Definitely Needed" (Shipard et al. 2023) and of its published code."""

from collections import Counter

import pytest
import torch

from figment.images import bilinear
from figment.labels import LabelSpace
from figment.planning.from_prompts import draw_guidance
from figment.planning.generator_config import GeneratorConfig
from figment.planning.plan import make_plan
from figment.prompts.tricks import RANDOM_GUIDANCE, build_tricks, write_prompts
from tests.plans import plan_bag_of_tricks

CIFAR_DOMAINS = (
    "photo", "drawing", "painting", "sketch", "collage",
    "poster", "digital art image", "rock drawing", "stick figure", "3D rendering",
)  # fmt: skip
TRICKS = ("base_class", "class_prompt", "multi_domain", "random_guidance")


def prompts_of(trick: str, name: str) -> list[str]:
    book = write_prompts(LabelSpace.of([name]), build_tricks([trick], CIFAR_DOMAINS, 7.5))
    return [prompt.text for prompt in book]


def test_class_prompt_is_the_name_alone():
    assert prompts_of("class_prompt", "aquarium_fish") == ["aquarium fish"]


def test_base_prompt_has_the_papers_article_unlike_the_published_code():
    assert prompts_of("base_class", "dog") == ["an image of a dog"]


def test_multi_domain_has_the_ten_domains_in_order():
    assert prompts_of("multi_domain", "dog") == [f"a {domain} of a dog" for domain in CIFAR_DOMAINS]


def test_random_guidance_is_drawn_per_image_unlike_the_published_code():
    draws = [draw_guidance(RANDOM_GUIDANCE, ("dog", i)) for i in range(10_000)]
    assert 1 <= min(draws) < 1.01
    assert 4.99 < max(draws) <= 5
    assert sum(draws) / len(draws) == pytest.approx(3, abs=0.05)


def test_every_class_gets_exactly_the_images_asked_for_split_evenly_over_domains():
    space = LabelSpace.of(["dog", "cat"])
    tricks = build_tricks(TRICKS, CIFAR_DOMAINS, 7.5)
    config = GeneratorConfig(model="some/model", scheduler="DDIMScheduler")
    plan = make_plan(plan_bag_of_tricks(write_prompts(space, tricks), tricks, config, "main", 25, 0)).to_pandas()
    assert len(plan) == 2 * 4 * 25
    assert set(plan.groupby(["trick", plan["labels"].str[0]]).size()) == {25}
    domains = plan[plan.trick == "multi_domain"].groupby("domain").size()
    assert set(domains) == {4, 6}  # 25 over 10 domains for each of two classes: 2 or 3 each
    assert set(plan[plan.trick == "base_class"].guidance_scale) == {7.5}


def test_tricks_have_independent_noise_unlike_the_published_code():
    space = LabelSpace.of(["dog", "cat"])
    tricks = build_tricks(TRICKS, CIFAR_DOMAINS, 7.5)
    config = GeneratorConfig(model="some/model", scheduler="DDIMScheduler")
    plan = make_plan(plan_bag_of_tricks(write_prompts(space, tricks), tricks, config, "main", 10, 0))
    assert max(Counter(plan["seed"].to_pylist()).values()) == 1


@pytest.mark.parametrize(("size", "factor"), [(32, 16), (64, 8)])
def test_downscale_without_antialiasing_is_the_mean_of_the_four_centre_pixels(size, factor):
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = torch.arange(size) * factor + factor // 2 - 1, torch.arange(size) * factor + factor // 2
    rows = (image[:, :, first] + image[:, :, second]) / 2
    expected = (rows[..., first] + rows[..., second]) / 2
    assert torch.allclose(bilinear(image, size, antialias=False), expected, atol=1e-12)


def test_downscale_with_antialiasing_spreads_over_32_taps():
    weights = []
    for column in range(512):
        impulse = torch.zeros(1, 3, 512, 512, dtype=torch.float64)
        impulse[..., column] = 1
        if 240 <= column <= 287:
            weights.append((column, float(bilinear(impulse, 32, antialias=True)[0, 0, 16, 16])))
    taps = [(column, w) for column, w in weights if w > 0]
    assert [column for column, _ in taps] == list(range(248, 280))
    assert max(w for _, w in taps) == pytest.approx(0.060547, abs=1e-6)
    assert sum(w for _, w in taps) == pytest.approx(1, abs=1e-9)


def test_white_noise_keeps_its_spread_without_antialiasing_and_loses_it_with():
    noise = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    assert float(bilinear(noise, 32, antialias=False).std()) == pytest.approx(0.1443, abs=0.006)
    assert float(bilinear(noise, 32, antialias=True).std()) == pytest.approx(0.0120, abs=0.001)
