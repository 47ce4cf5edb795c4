import copy

import pytest
import torch

from figment.adaptation.gradient_sampler import checkpointed, sample
from figment.planning.generator_config import GeneratorConfig
from tests.figment.synthesis.test_families import flux, saved, stable_diffusion_3, stable_diffusion_xl

PROMPTS = ["a photo of a dog next to a banana", "a photo of a truck"]
SEEDS = [3, 5]


@pytest.fixture(scope="module")
def few_steps(pocket_config) -> GeneratorConfig:
    return pocket_config.model_copy(update={"num_inference_steps": 2, "guidance_scale": 3.0})


@pytest.fixture(scope="module")
def pipeline(generator):
    """A copy in float64, so that gradients can be compared with differences."""
    parts = copy.deepcopy(dict(generator.pipeline.components))
    pipeline = type(generator.pipeline)(**parts, requires_safety_checker=False).to(torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    pipeline.text_encoder.requires_grad_(True)
    return pipeline


def loss_of(pipeline, config, **how) -> torch.Tensor:
    """Something that depends on every pixel."""
    pixels = sample(pipeline, PROMPTS, SEEDS, config, **how).double()
    weights = torch.linspace(-1, 1, pixels.numel(), dtype=torch.float64).view_as(pixels).cos()
    return (pixels * weights).sum()


def gradient(pipeline, config, **how) -> torch.Tensor:
    loss = loss_of(pipeline, config, **how)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, pipeline.text_encoder.parameters())])


@pytest.fixture(scope="module")
def whole(pipeline, few_steps) -> torch.Tensor:
    """The gradient through all steps."""
    return gradient(pipeline, few_steps)


def assert_images_are_the_generators(generator, config, negative_prompt):
    rows = [
        {
            **config.model_dump(), "prompt": prompt, "negative_prompt": negative_prompt, "seed": seed, "adapter": "",
            "concept": "", "initial_image": "", "strength": 1.0,
        }
        for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
    ]  # fmt: skip
    with torch.no_grad():
        found = sample(generator.pipeline, PROMPTS, SEEDS, config, negative_prompt)
    torch.testing.assert_close(found, generator.render(rows).pixels, atol=2e-3, rtol=0)


@pytest.mark.parametrize("negative_prompt", ["", "blurry"])
def test_the_images_are_the_generators(generator, few_steps, negative_prompt):
    assert_images_are_the_generators(generator, few_steps, negative_prompt)


@pytest.mark.parametrize("family", [stable_diffusion_xl, stable_diffusion_3, flux])
def test_the_images_are_the_generators_in_other_families_and_all_text_encoders_get_a_gradient(family, tmp_path):
    torch.manual_seed(0)
    generator = saved(family(), tmp_path / "model")
    pipeline = generator.pipeline
    config = GeneratorConfig(
        model="tiny", width=32, height=32, guidance_scale=3.0, num_inference_steps=2,
        scheduler=type(pipeline.scheduler).__name__,
    )  # fmt: skip
    negatives = ("",) if type(pipeline).__name__ == "FluxPipeline" else ("", "blurry")  # Flux reads none
    for negative_prompt in negatives:  # to SDXL no negative prompt is another thing than an empty one
        assert_images_are_the_generators(generator, config, negative_prompt)
    sample(pipeline, PROMPTS, SEEDS, config).std().backward()
    for name, part in pipeline.components.items():
        if name.startswith("text_encoder"):
            assert sum(p.grad.abs().sum() for p in part.parameters() if p.grad is not None) > 0, name


def test_the_gradient_through_the_whole_sampler_equals_differences(pipeline, few_steps, whole):
    direction = torch.randn(len(whole), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction /= direction.norm()
    before = {name: value.clone() for name, value in pipeline.text_encoder.state_dict().items()}

    def moved(amount: float) -> float:
        start = 0
        with torch.no_grad():
            for p in pipeline.text_encoder.parameters():
                p += amount * direction[start : start + p.numel()].view_as(p)
                start += p.numel()
            value = loss_of(pipeline, few_steps).item()
        pipeline.text_encoder.load_state_dict(before)
        return value

    step = 1e-4
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx((whole @ direction).item(), rel=1e-5)


def test_only_the_text_encoder_gets_a_gradient(pipeline, few_steps):
    loss_of(pipeline, few_steps).backward()
    assert all(p.grad is not None for p in pipeline.text_encoder.parameters())
    assert all(p.grad is None for part in (pipeline.unet, pipeline.vae) for p in part.parameters())


def test_checkpointing_changes_no_gradient_and_leaves_no_trace(pipeline, few_steps, whole):
    before = pipeline.unet.forward
    with checkpointed(pipeline.unet, pipeline.vae.decoder):
        assert pipeline.unet.forward != before
        again = gradient(pipeline, few_steps)
    assert pipeline.unet.forward == before
    torch.testing.assert_close(again, whole, rtol=1e-9, atol=1e-12)


def test_earlier_steps_count_as_given_if_only_the_last_are_differentiated(pipeline, few_steps, whole):
    """So the latents between steps carry a gradient, and without it there would be another: the sampler is unrolled whole."""
    truncated = gradient(pipeline, few_steps, differentiated_steps=1)
    assert truncated.norm() > 0
    assert (truncated - whole).norm() > 0.05 * whole.norm()
    torch.testing.assert_close(gradient(pipeline, few_steps, differentiated_steps=2), whole)
    with torch.no_grad():
        assert torch.equal(
            loss_of(pipeline, few_steps, differentiated_steps=1), loss_of(pipeline, few_steps)
        )  # the images are the same
