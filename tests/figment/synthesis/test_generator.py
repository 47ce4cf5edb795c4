import pytest
import torch

from figment.errors import InputError
from figment.synthesis.config import GeneratorConfig
from figment.synthesis.generator import Generator, model_revision, unknown_names


def rows_of(plan, count: int) -> list[dict]:
    return plan.to_pylist()[:count]


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean() + 1e-12))


def test_pictures_do_not_depend_on_their_batch(generator, plan):
    rows = rows_of(plan, 6)
    together = generator.render(rows)
    alone = torch.cat([generator.render([row]) for row in rows])
    assert together.shape == (6, 3, 32, 32)
    assert psnr(together, alone) > 45


def test_a_vector_of_guidance_scales_equals_single_runs(generator, plan):
    row = rows_of(plan, 1)[0]
    scales = [1.0, 1.5, 3.0, 5.0]
    together = generator.render([row | {"guidance_scale": scale} for scale in scales])
    for scale, picture in zip(scales, together, strict=True):
        assert psnr(picture, generator.render([row | {"guidance_scale": scale}])[0]) > 45
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
    assert psnr(generator.render([row | {"guidance_scale": 4.0}])[0], plain) > 60


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


def test_each_prompt_is_encoded_once(pocket_config, plan, monkeypatch):
    fresh = Generator(pocket_config)
    calls = []
    encode = fresh.pipeline.encode_prompt
    monkeypatch.setattr(
        fresh.pipeline, "encode_prompt", lambda *a, **k: (calls.append(a[0] if a else k["prompt"]), encode(*a, **k))[1]
    )
    own = len(rows_of(plan, 18))
    fresh.render(rows_of(plan, own))
    fresh.render(rows_of(plan, own))
    # The pipeline's own calls carry embeddings and no text.
    texts = [prompt for prompt in calls if prompt is not None]
    assert sorted(texts) == sorted({row["prompt"] for row in rows_of(plan, own)})


def test_schedulers_swap_by_name(generator, plan):
    row = rows_of(plan, 1)[0]
    assert generator.render([row | {"scheduler": "EulerDiscreteScheduler"}]).shape == (1, 3, 32, 32)


def test_an_unknown_scheduler_is_answered_with_the_nearest(generator, plan):
    with pytest.raises(
        InputError, match="'DDIMSheduler' is not a scheduler of diffusers; did you mean 'DDIMScheduler'"
    ):
        generator.render([rows_of(plan, 1)[0] | {"scheduler": "DDIMSheduler"}])


def test_a_missing_weights_folder_is_a_sentence():
    with pytest.raises(InputError, match=r"generator\.model: 'models/none/here' holds no model_index\.json"):
        model_revision(GeneratorConfig(model="models/none/here"))


def test_a_hub_id_keeps_its_revision():
    assert model_revision(GeneratorConfig(model="owner/name", revision="abc")) == "abc"


def test_names_outside_the_vocabulary_come_with_the_nearest(pocket_config):
    assert unknown_names(pocket_config.model, ["frog", "dragon"])["dragon"]
    assert "frog" not in unknown_names(pocket_config.model, ["frog"])
    assert unknown_names("owner/name", ["dragon"]) == {}
