"""Tiny random-weight pipelines of the two families that take image embeddings, and the map for those that do not."""

import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    KandinskyV22Pipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from benchmarks.latent.__main__ import main
from benchmarks.latent.conditioning import LinearCaptioner, embedding_arguments, render_conditioned
from benchmarks.latent.samplers import SAMPLERS
from figment.errors import InputError

WIDTH = 32  # of the image embeddings


def unclip() -> StableUnCLIPImg2ImgPipeline:
    torch.manual_seed(0)
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
        image_encoder=CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=WIDTH, projection_dim=WIDTH, num_hidden_layers=1, num_attention_heads=4, image_size=32,
                intermediate_size=37, patch_size=8,
            )
        ),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=WIDTH),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=CLIPTokenizer.from_pretrained("models/pocket/diffusion/tokenizer"),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=WIDTH, intermediate_size=37, num_attention_heads=4, num_hidden_layers=1, vocab_size=1300,
                max_position_embeddings=24, bos_token_id=1220, eos_token_id=1221, pad_token_id=1221,
            )
        ),
        unet=UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(32, 64), attention_head_dim=(2, 4),
            class_embed_type="projection", projection_class_embeddings_input_dim=2 * WIDTH, cross_attention_dim=WIDTH,
            layers_per_block=1, use_linear_projection=True,
        ),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False),
        vae=AutoencoderKL(),
    )  # fmt: skip


def kandinsky() -> KandinskyV22Pipeline:
    torch.manual_seed(0)
    return KandinskyV22Pipeline(
        unet=UNet2DConditionModel(
            in_channels=4, out_channels=8, addition_embed_type="image", cross_attention_dim=32, encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="image_proj", class_embed_type=None, mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), block_out_channels=(32, 64),
            layers_per_block=1, resnet_time_scale_shift="scale_shift", attention_head_dim=4,
        ),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False),
        movq=VQModel(
            block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            in_channels=3, latent_channels=4, layers_per_block=1, norm_num_groups=8, norm_type="spatial",
            num_vq_embeddings=12, out_channels=3, up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            vq_embed_dim=4,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("build", "size"), [(unclip, 32), (kandinsky, 64)])
def test_a_pipeline_paints_from_image_embeddings_and_each_matters(build, size):
    pipeline = build()
    pipeline.set_progress_bar_config(disable=True)
    first, second = F.normalize(torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)

    def paint(*embeddings: torch.Tensor) -> torch.Tensor:
        arguments = embedding_arguments(pipeline, torch.stack(embeddings))
        return render_conditioned(pipeline, arguments, [7] * len(embeddings), size, 3.0, 2)

    together = paint(first, second)
    assert together.shape == (2, 3, size, size)
    assert together.min() >= 0
    assert together.max() <= 1
    assert torch.allclose(together, paint(first, second))
    assert torch.allclose(together[1], paint(second, first)[0], atol=1e-3)
    assert not torch.allclose(together[0], together[1], atol=1e-3)  # the same noise, another embedding


@pytest.mark.parametrize("build", [unclip, kandinsky])
def test_embeddings_of_another_clip_are_refused(build):
    with pytest.raises(InputError, match=f"image embeddings of {WIDTH} numbers, found 7"):
        embedding_arguments(build(), torch.zeros(2, 7))


def test_a_text_to_image_pipeline_takes_none(generator):
    with pytest.raises(InputError, match="StableDiffusionPipeline takes no image embeddings"):
        embedding_arguments(generator.pipeline, torch.zeros(1, 256))


def test_the_linear_map_recovers_a_linear_relation():
    dice = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=dice) for shape in ((400, 6), (6, 12), (3, 4)))
    states = (x @ weight).unflatten(1, (3, 4)) + bias
    captioner = LinearCaptioner.fit(x[:300], states[:300], ridge=1e-6)
    assert torch.allclose(captioner(x[300:]), states[300:], atol=1e-3)
    shrunk = LinearCaptioner.fit(x[:300], states[:300], ridge=1e9)
    assert torch.allclose(shrunk(x[300:]), states[:300].mean(0).expand(100, 3, 4), atol=1e-3)


def test_the_study_makes_images_of_any_class_folders(tmp_path, capsys):
    unclip().save_pretrained(tmp_path / "model")
    for place, name in enumerate(("cat", "dog")):
        for i in range(4):
            file = tmp_path / "photos" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((20, 16), 30 + 20 * i + 60 * place).convert("RGB").save(file)
    sizes = ["--size", "32", "--steps", "2", "--images", "3", "--batch", "2", "--device", "cpu"]
    places = ["--data", str(tmp_path / "photos"), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    main([*places, "--classes", "cat, dog", *sizes])
    found = json.loads((tmp_path / "out/spread.json").read_text())
    for sampler in SAMPLERS:
        for name in ("cat", "dog"):
            assert found[sampler][name]["photos"] == 4
            assert found[sampler][name]["spread"] > 0
            files = sorted((tmp_path / "out" / sampler / name).iterdir())
            assert len({file.read_bytes() for file in files}) == 3
    assert "triples, dog: spread" in capsys.readouterr().out
