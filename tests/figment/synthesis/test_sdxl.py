"""A tiny random-weight SDXL: two text encoders and pooled embeddings go through the same generator."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator
from figment.synthesis.weights import folder_revision


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained("models/pocket/diffusion/tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
        cross_attention_dim=64,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        sample_size=32,
        norm_num_groups=8,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        unet=unet,
        text_encoder=CLIPTextModel(text),
        text_encoder_2=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        feature_extractor=None,
        image_encoder=None,
        add_watermarker=False,
    )
    folder = tmp_path_factory.mktemp("xl")
    pipeline.save_pretrained(folder)
    return folder


def test_prompts_seeds_and_scales_mix_in_a_batch_of_sdxl(folder, plan):
    generator = Generator(str(folder), folder_revision(str(folder)), SynthesisConfig())
    row = plan.to_pylist()[0] | {"scheduler": "EulerDiscreteScheduler", "guidance_scale": 3.0}
    rows = [row, row | {"prompt": "a cat", "guidance_scale": 6.0, "seed": 2}, row | {"guidance_scale": 1.0}]
    alone = torch.cat([generator.render([one]).pixels for one in rows])
    assert alone.shape == (3, 3, 32, 32)
    assert torch.allclose(generator.render(rows).pixels, alone, atol=1e-4)
