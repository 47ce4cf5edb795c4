import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from figment.errors import InputError
from figment.images import encode
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator
from figment.synthesis.weights import model_revision


def images(generator, rows) -> torch.Tensor:
    return generator.render(rows).pixels


def rows_of(plan, count: int) -> list[dict]:
    return plan.to_pylist()[:count]


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean() + 1e-12))


def test_images_do_not_depend_on_their_batch(generator, plan):
    rows = rows_of(plan, 6)
    together = images(generator, rows)
    alone = torch.cat([images(generator, [row]) for row in rows])
    assert together.shape == (6, 3, 32, 32)
    assert psnr(together, alone) > 45


def test_a_vector_of_guidance_scales_equals_single_runs(generator, plan):
    row = rows_of(plan, 1)[0]
    scales = [1.0, 1.5, 3.0, 5.0]
    together = images(generator, [row | {"guidance_scale": scale} for scale in scales])
    for scale, image in zip(scales, together, strict=True):
        assert psnr(image, images(generator, [row | {"guidance_scale": scale}])[0]) > 45
    assert psnr(together[0], together[3]) < 40  # and the scale does matter


def test_a_vector_of_one_scale_equals_the_plain_diffusers_call(generator, plan):
    row = rows_of(plan, 1)[0]
    plain = generator.pipeline(
        row["prompt"],
        guidance_scale=4.0,
        num_inference_steps=row["num_inference_steps"],
        generator=[torch.Generator().manual_seed(row["seed"])],
        height=32,
        width=32,
        output_type="pt",
    ).images[0]
    assert psnr(images(generator, [row | {"guidance_scale": 4.0}])[0], plain) > 60


def test_guidance_1_halves_the_work(generator, plan, monkeypatch):
    samples = []
    forward = generator.pipeline.unet.forward
    monkeypatch.setattr(
        generator.pipeline.unet, "forward", lambda x, *a, **k: (samples.append(len(x)), forward(x, *a, **k))[1]
    )
    row = rows_of(plan, 1)[0]
    generator.render([row | {"guidance_scale": 3.0}])
    guided = sum(samples)
    samples.clear()
    generator.render([row | {"guidance_scale": 1.0}])
    assert guided == 2 * sum(samples) == 2 * row["num_inference_steps"]


def test_each_text_is_encoded_once(pocket_config, synthesis, plan, monkeypatch):
    fresh = Generator(pocket_config.model, model_revision(pocket_config), synthesis)
    encoded = []
    forward = fresh.pipeline.text_encoder.forward
    monkeypatch.setattr(
        fresh.pipeline.text_encoder,
        "forward",
        lambda ids, *a, **k: (encoded.append(len(ids)), forward(ids, *a, **k))[1],
    )
    rows = rows_of(plan, 18)
    fresh.render(rows)
    first = sum(encoded)
    fresh.render(rows)
    fresh.lane().render(rows)
    assert (
        sum(encoded) == first == len({row["prompt"] for row in rows}) + 2
    )  # and the empty text, with a stand-in prompt


def test_texts_encoded_ahead_are_not_encoded_again(pocket_config, synthesis, plan, monkeypatch):
    fresh = Generator(pocket_config.model, model_revision(pocket_config), synthesis)
    rows = rows_of(plan, 6)
    fresh.encode_ahead(rows)
    monkeypatch.setattr(fresh.pipeline.text_encoder, "forward", lambda *a, **k: pytest.fail("encoded again"))
    fresh.render(rows)


def test_schedulers_swap_by_name(generator, plan):
    row = rows_of(plan, 1)[0]
    assert images(generator, [row | {"scheduler": "EulerDiscreteScheduler"}]).shape == (1, 3, 32, 32)


def test_an_unknown_scheduler_is_answered_with_the_nearest(generator, plan):
    with pytest.raises(
        InputError, match="'DDIMSheduler' is not a scheduler of diffusers; did you mean 'DDIMScheduler'"
    ):
        generator.render([rows_of(plan, 1)[0] | {"scheduler": "DDIMSheduler"}])


def test_images_that_start_from_others_mix_prompts_and_sources_in_a_batch(generator, plan, tmp_path):
    generator.sources.folder = tmp_path / "sources"
    hashes = []
    for i, colour in enumerate([(250, 20, 20), (20, 20, 250)]):
        Image.new("RGB", (50, 40), colour).save(tmp_path / f"{i}.png")
        hashes.append(generator.sources.add(tmp_path / f"{i}.png"))
    row = rows_of(plan, 1)[0] | {"guidance_scale": 2.0, "strength": 0.5}
    rows = [row | {"initial_image": h, "prompt": f"a {word}"} for h, word in zip(hashes, ("car", "frog"), strict=True)]
    together = images(generator, rows)
    assert psnr(together, torch.cat([images(generator, [one]) for one in rows])) > 45
    red, blue = together.mean((2, 3))
    assert red[0] > red[2]  # half of the way, the source still shows
    assert blue[2] > blue[0]
    strong = images(generator, [row | {"initial_image": hashes[0], "strength": 1.0}])
    assert not torch.allclose(strong, together[:1], atol=0.05)


def test_within_a_mask_an_image_is_rendered_and_around_it_stays(generator, plan, tmp_path):
    generator.sources.folder = tmp_path / "sources"
    colours = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    photos = [generator.sources.keep(encode(one, "png")) for one in colours]
    inside = np.zeros((32, 32), bool)
    inside[:8, :16] = True
    whole, part, outside = (
        generator.sources.keep(encode(np.repeat(mask[..., None], 3, 2) * np.uint8(255), "png"))
        for mask in (inside | True, inside, ~inside)
    )
    plain = rows_of(plan, 1)[0] | {"guidance_scale": 2.0, "strength": 0.5, "initial_image": photos[0]}
    rows = [plain | {"mask": part}, plain | {"mask": outside, "initial_image": photos[1], "prompt": "a frog"}]
    together = images(generator, rows)
    assert psnr(together, torch.cat([images(generator, [row]) for row in rows])) > 45
    for image, photo, rendered in zip(together, colours, (inside, ~inside), strict=True):
        there = torch.from_numpy(photo).permute(2, 0, 1) / 255
        assert torch.equal(image[:, ~rendered], there[:, ~rendered])
        assert (image[:, rendered] - there[:, rendered]).abs().mean() > 0.1
    assert psnr(images(generator, [plain | {"mask": whole}]), images(generator, [plain])) > 45


def test_a_lost_or_changed_source_image_is_named(generator, plan, tmp_path):
    generator.sources.folder = tmp_path
    generator.sources.image.cache_clear()
    row = rows_of(plan, 1)[0] | {"strength": 0.5, "initial_image": "ab" * 32}
    with pytest.raises(InputError, match=r"initial image .*abab: does not exist"):
        generator.render([row])
    (tmp_path / ("ab" * 32)).write_bytes(b"other")
    with pytest.raises(InputError, match=r"initial image .*abab: has other content"):
        generator.render([row])


def test_one_generator_is_seeded_for_each_row_of_the_batch(generator, plan):
    row = rows_of(plan, 1)[0]
    a, b, again = images(generator, [row, row | {"seed": row["seed"] + 1}, row])
    assert psnr(a, again) > 45
    assert psnr(a, b) < 40


def test_compiled_blocks_only_ever_see_full_batches(pocket_config, plan, monkeypatch):
    config = SynthesisConfig(batch_size=5, compile=True)
    monkeypatch.setattr(UNet2DConditionModel, "compile_repeated_blocks", lambda self, fullgraph: None)
    generator = Generator(pocket_config.model, model_revision(pocket_config), config)
    seen = []
    forward = generator.denoiser.forward
    monkeypatch.setattr(generator.denoiser, "forward", lambda x, *a, **k: (seen.append(len(x)), forward(x, *a, **k))[1])
    rows = [row | {"guidance_scale": 3.0} for row in rows_of(plan, 7)]
    both = torch.cat([images(generator, rows[:5]), images(generator, rows[5:])])
    assert set(seen) == {10}
    assert both.shape[0] == 7


@pytest.mark.slow
def test_compiled_images_are_the_same(generator, pocket_config, plan):
    config = SynthesisConfig(batch_size=2, compile=True)
    compiled = Generator(pocket_config.model, model_revision(pocket_config), config)
    rows = [row | {"guidance_scale": 3.0, "num_inference_steps": 2} for row in rows_of(plan, 2)]
    assert psnr(images(compiled, rows), images(generator, rows)) > 45


def test_guided_rendering_in_half_precision_is_close_to_full(generator, pocket_config, plan):
    half = Generator(pocket_config.model, model_revision(pocket_config), SynthesisConfig(dtype="bfloat16"))
    rows = [row | {"guidance_scale": 3.7} for row in rows_of(plan, 3)]
    assert psnr(images(half, rows), images(generator, rows)) > 25


def test_vae_slicing_and_channels_last_change_nothing_visible(generator, pocket_config, plan):
    config = SynthesisConfig(vae_slicing=True, channels_last=True)
    other = Generator(pocket_config.model, model_revision(pocket_config), config)
    assert psnr(images(other, rows_of(plan, 3)), images(generator, rows_of(plan, 3))) > 45


def test_weights_that_changed_since_the_plan_are_refused(pocket_config, synthesis):
    with pytest.raises(InputError, match=r"changed since the plan was made \(revision 0123, now [0-9a-f]{16}\)"):
        Generator(pocket_config.model, "0123", synthesis)
