"""Every family of pipelines, beside the stock call of diffusers. Each test is a column of the table in docs/generators.md:
passed is yes; what the family's contract says it cannot do is refused in a sentence and skipped."""

import pytest
import torch

from figment.errors import InputError
from figment.model_loaders.lora import place_lora
from tests.conformance.conftest import Subject

EXACT = 2e-6  # of a pixel in [0, 1]: last bits of float32
COMPANY = 2e-4  # what a pixel may differ by in other company
# Their stock pipelines that fill a mask take such small networks, and their samplers draw no further noise.
FILLS = ("Stable Diffusion 1", "Stable Diffusion 2", "Stable Diffusion XL", "Flux.1 dev", "Flux.1 schnell")
SHORT, LONG = "a car", "a sketch of a green frog beside a red car and a banana"


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def refused(subject: Subject, row: dict, sentence: str) -> None:
    """The row is refused, and the column is a no."""
    with pytest.raises(InputError, match=sentence):
        subject.render(row)
    pytest.skip("refused in a sentence")


def test_equal_to_stock(subject: Subject):
    for row in (subject.row(LONG), subject.row(SHORT, guidance_scale=subject.family.guided_above)):
        assert difference(subject.render(row), subject.call(row)) <= EXACT


def test_batch_invariant(subject: Subject):
    scales = subject.case.scales if subject.guidance != "none" else (subject.row("")["guidance_scale"],) * 2
    rows = [subject.row(SHORT), subject.row(LONG, seed=4), subject.row(SHORT, seed=5)]
    rows = [
        row | {"guidance_scale": scale} for row, scale in zip(rows, (*scales, subject.family.guided_above), strict=True)
    ]
    if subject.guidance == "none":
        rows = [row | {"guidance_scale": scales[0]} for row in rows]
    alone = torch.cat([subject.render(row) for row in rows])
    assert difference(subject.render(*rows), alone) <= COMPANY
    assert difference(subject.render(*rows[::-1]).flip(0), alone) <= COMPANY


def test_guidance_acts(subject: Subject):
    low, high = (subject.row(LONG, guidance_scale=scale) for scale in subject.case.scales)
    if subject.guidance == "none":
        assert difference(subject.render(low), subject.render(high)) == 0
        pytest.skip("distilled")
    assert difference(subject.render(low), subject.render(high)) > 10 * COMPANY
    for row in (low, high):
        assert difference(subject.render(row), subject.call(row)) <= EXACT


def test_negative_acts(subject: Subject):
    row = subject.row(LONG, guidance_scale=subject.case.scales[1])
    against = row | {"negative_prompt": "a blue photo of a banana"}
    if not subject.family.negatives or subject.guidance != "classifier_free":
        refused(subject, against, "reads no negative prompt")
    assert difference(subject.render(row), subject.render(against)) > 10 * COMPANY
    assert difference(subject.render(against), subject.call(against)) <= EXACT
    both = subject.render(against, row)
    assert difference(both, torch.cat([subject.render(against), subject.render(row)])) <= COMPANY


def test_image_to_image(subject: Subject):
    row = subject.row(LONG, initial_image=subject.image, num_inference_steps=4)
    if subject.family.image == "none":
        refused(subject, row, "cannot start from an image")
    if subject.family.image == "strength":
        row |= {"strength": 0.5}
    else:
        with pytest.raises(InputError, match=r"knows no strength, found 0\.5"):
            subject.render(row | {"strength": 0.5})
        with pytest.raises(InputError, match=r"reads images of 64 pixels or more, found 32"):
            subject.render(row)
        row |= {"width": 64, "height": 64}
    alone = subject.render(row)
    assert difference(alone, subject.call(row)) <= EXACT
    assert difference(alone, subject.render(row | {"initial_image": ""})) > 10 * COMPANY
    rows = [row, row | {"prompt": SHORT, "seed": 9}]
    assert difference(subject.render(*rows), torch.cat([subject.render(one) for one in rows])) <= COMPANY


def test_part_of_an_image(subject: Subject):
    """As the stock pipeline that fills a mask does it, where there is one for such a network."""
    row = subject.row(LONG, initial_image=subject.image, mask=subject.mask, num_inference_steps=4, strength=0.5)
    if subject.family.image == "none":
        refused(subject, row, "cannot start from an image")
    if subject.family.image == "reference":
        refused(subject, row | {"strength": 1.0}, "cannot render a part of an image")
    image, middle = subject.render(row), row["width"] // 2
    assert difference(image[..., middle:], subject.pixels(row)[..., middle:]) == 0
    assert difference(image, subject.pixels(row)) > 10 * COMPANY
    rows = [row, row | {"prompt": SHORT, "seed": 9}]
    assert difference(subject.render(*rows), torch.cat([subject.render(one) for one in rows])) <= COMPANY
    if subject.case.title in FILLS:
        assert difference(image[..., :middle], subject.call(row)[..., :middle]) <= EXACT


def test_long_prompts(subject: Subject):
    """What is over the limit is counted, and cut as the stock call cuts it."""
    pipeline, readers = subject.generator.pipeline, subject.family.readers
    words = max(reader.count(pipeline, "")[1] for reader in readers)
    prompt = "a photo of a car " * (words // 4)
    counted = [reader.count(pipeline, prompt) for reader in readers]
    assert all(tokens > limit for tokens, limit in counted)
    row = subject.row(prompt)
    assert difference(subject.render(row), subject.call(row)) <= EXACT
    assert all(tokens <= limit for tokens, limit in (reader.count(pipeline, SHORT) for reader in readers))


def test_lora(subject: Subject):
    """As the stock call gives with the same file and weight; rows without it, and with another weight, beside it."""
    row = subject.row(LONG)
    if not subject.family.loras:
        refused(subject, row | {"adapter": "ab*1.0"}, "diffusers loads no LoRA into a")
    before, name = subject.render(row), place_lora(subject.lora, subject.folder, "lora")
    rows = [row | {"adapter": f"{name}*0.7"}, row, row | {"adapter": f"{name}*-0.4", "seed": 8}]
    together = subject.render(*rows)
    assert difference(together[1:2], before) <= COMPANY
    assert difference(subject.render(row), before) == 0
    for one, pixels in zip(rows[::2], together[[0, 2]], strict=True):
        assert difference(subject.render(one), pixels[None]) <= COMPANY
        subject.stock.load_lora_weights(subject.lora.parent, adapter_name="own")
        subject.stock.set_adapters("own", float(one["adapter"].partition("*")[2]))
        assert difference(subject.render(one), subject.call(one)) <= EXACT
        subject.stock.unload_lora_weights()
    assert difference(together[:1], before) > 10 * COMPANY


def test_replay(subject: Subject):
    """A generator that is loaded again gives the same bytes."""
    row = subject.row(LONG)
    assert torch.equal(subject.render(row), subject.load().render([row]).pixels)


def test_bfloat16(subject: Subject):
    """In the memory format that a GPU gets by default."""
    row = subject.row(LONG)
    pixels = subject.load(dtype="bfloat16", channels_last=True).render([row]).pixels
    assert pixels.isfinite().all()
    assert float((pixels - subject.render(row)).abs().mean()) < 0.1
