import re

import pytest

from figment.errors import InputError
from figment.labels import Label
from figment.prompts.instructions import context_instruction, pair_instruction
from figment.prompts.tricks import Wording, build_tricks, clear_name


def test_a_misspelt_trick_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"tricks\[1\]: 'multidomain' is not a trick; did you mean 'multi_domain'"):
        build_tricks(["base_class", "multidomain"], ["photo"], 4.0)


@pytest.mark.parametrize("domain", ["photo {x}", "photo {name}", "}", "photo {"])
def test_a_brace_in_a_domain_is_named(domain):
    with pytest.raises(InputError, match=rf"^domains\[1\]: {re.escape(repr(domain))} holds a brace; give plain words"):
        build_tricks(["multi_domain"], ["photo", domain], 4.0)


@pytest.mark.parametrize(
    "clear",
    [
        "a bird", "an otter", "an hour glass", "an hourglass", "a horse", "a honeycomb", "an heirloom tomato", "a house",
        "a uniform", "a unicycle", "a unicorn", "a union flag", "a university", "an umbrella", "an uninhabited island",
        "a used car", "an usher", "a utility pole", "an utterance", "a ukulele", "an urn",
        "a urinal", "a USB stick", "a UV lamp", "a UFO", "a U-boat",
        "a eucalyptus", "an eel", "a ewe", "an egg", "a one-way sign", "an onion",
        "an oven", "an MRI scan", "an SUV", "a FOX", "a HORSE", "an X-ray", "an x-ray", "a xylophone", "an F-16", "a leopard",
        "a T-shirt", "an L-shaped sofa", "an Apple", "an RV",
    ],
)  # fmt: skip
def test_the_article_goes_by_the_sound(clear):
    assert clear_name(Label(name=clear.partition(" ")[2])) == clear


def test_instructions_name_everything_they_ask_for():
    assert "dog and car" in pair_instruction(["dog", "car"], 5)
    assert "5" in pair_instruction(["dog", "car"], 5)
    assert "teddy bear" in context_instruction("teddy bear", 3)


def test_random_guidance_draws_from_the_range_that_is_set():
    (trick,) = build_tricks(["random_guidance"], None, 7.5, Wording(random_guidance=(2, 9)))
    assert trick.guidance == (2.0, 9.0)
    (trick,) = build_tricks(["random_guidance"], None, 7.5, Wording())
    assert trick.guidance == (1.0, 5.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"random_guidance": (5, 1)}, "no range"), ({"random_guidance": (1, 2.5), "as_published": True}, "whole")],
)
def test_a_range_of_guidance_that_is_none(settings, said):
    with pytest.raises(ValueError, match=said):
        Wording(**settings)
