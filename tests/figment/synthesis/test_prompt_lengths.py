"""Prompts over the text encoder's length: counted, told once, and read in parts where the plan says so."""

import logging
from types import SimpleNamespace

import pytest
import torch
from transformers import CLIPTokenizer

from figment.errors import InputError
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.families import Reader
from figment.synthesis.generator import Generator
from figment.synthesis.prompt_lengths import LongPrompts, excess, parts_of
from figment.synthesis.weights import check_family, folder_revision

SHORT = "a photo of a car"
LONG = "a photo of a car and a frog and a banana " * 4
OTHER_END = LONG[: len(LONG) // 2] + "a sketch of a dog " * 4


@pytest.fixture(scope="module")
def xl_generator(xl) -> Generator:
    return Generator(str(xl), folder_revision(str(xl)), SynthesisConfig())


@pytest.fixture(params=["Stable Diffusion", "Stable Diffusion XL"])
def own(request, generator, xl_generator) -> Generator:
    return generator if request.param == "Stable Diffusion" else xl_generator


def row_of(plan, prompt: str, **more) -> dict:
    row = plan.to_pylist()[0] | {"guidance_scale": 3.0, "num_inference_steps": 2, "long_prompts": True}
    return row | {"prompt": prompt} | more


def test_a_prompt_is_cut_between_words_into_parts_that_fit(generator):
    family, pipeline = generator.family, generator.pipeline
    ((name, tokens, limit),) = excess(family, pipeline, LONG)
    assert (name, limit) == ("tokenizer", pipeline.tokenizer.model_max_length)
    parts = parts_of(family, pipeline, LONG)
    assert " ".join(parts) == LONG.strip()
    assert not any(excess(family, pipeline, part) for part in parts)
    assert len(parts) >= tokens / limit
    assert parts_of(family, pipeline, "") == [""]


def test_a_prompt_that_fits_means_the_same_either_way(own, plan):
    whole, cut = (own.render([row_of(plan, SHORT, long_prompts=long)]).pixels for long in (True, False))
    assert torch.equal(whole, cut)


def test_what_stands_behind_the_limit_counts_only_in_parts(own, plan):
    rows = [row_of(plan, text, long_prompts=long) for long in (True, False) for text in (LONG, OTHER_END)]
    long, other_long, cut, other_cut = (own.render([row]).pixels for row in rows)
    assert torch.equal(cut, other_cut)
    assert not torch.allclose(long, other_long, atol=1e-4)


def test_long_and_short_rows_share_a_plan_with_negatives_of_any_length(own, plan):
    rows = [row_of(plan, LONG), row_of(plan, SHORT, negative_prompt=LONG), row_of(plan, SHORT), row_of(plan, OTHER_END)]
    alone = torch.cat([own.render([row]).pixels for row in rows])
    assert torch.allclose(own.render(rows).pixels, alone, atol=1e-4)
    assert not torch.allclose(alone[1], alone[2], atol=1e-4)


def test_long_prompts_are_counted_and_told_once(generator, plan, caplog):
    counter = LongPrompts()
    with caplog.at_level(logging.WARNING):
        rows = [row_of(plan, text, long_prompts=False) for text in (SHORT, LONG, LONG)]
        counter.look(rows, generator.family, generator.pipeline)
        counter.look(rows, generator.family, generator.pipeline)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "1 of the first 3 prompts are longer than this Stable Diffusion 1 and 2 model reads"
    )
    assert "long_prompts: true" in record.getMessage()


def test_a_family_that_cannot_read_parts_says_so_before_a_plan_is_made(tmp_path):
    from tests.figment.synthesis.test_families import flux

    flux().save_pretrained(tmp_path / "flux")
    with pytest.raises(InputError, match=r"generator\.long_prompts: Flux\.1 reads a prompt as one text"):
        check_family(GeneratorConfig(model=str(tmp_path / "flux"), width=32, height=32, long_prompts=True))


def test_counting_leaves_the_padding_of_a_prompt_that_another_thread_encodes():
    tokenizer = CLIPTokenizer.from_pretrained("models/pocket/diffusion/tokenizer")
    pipeline = SimpleNamespace(components={"tokenizer": tokenizer})
    tokenizer(["a cat"], padding="max_length", truncation=True)
    before = tokenizer.backend_tokenizer.padding
    assert Reader().count(pipeline, "a cat") == (4, tokenizer.model_max_length)
    assert tokenizer.backend_tokenizer.padding == before is not None
