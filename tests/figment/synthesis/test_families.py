"""Other families of diffusers pipelines, tiny and with random weights, go through the same generator."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

from figment.planning.plan import make_plan
from figment.planning.row import row_of
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.executor import synthesise
from figment.synthesis.generator import Generator
from figment.synthesis.pool import Pool
from figment.synthesis.weights import folder_revision

POCKET = "models/pocket/diffusion"


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
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


def t5(tokenizer: CLIPTokenizer, width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=1, num_heads=4)
    )


def autoencoder(channels: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        sample_size=32,
        norm_num_groups=8,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    """Two text encoders and pooled embeddings."""
    tokenizer = CLIPTokenizer.from_pretrained(f"{POCKET}/tokenizer")
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
    return StableDiffusionXLPipeline(
        vae=autoencoder(4),
        unet=unet,
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        feature_extractor=None,
        image_encoder=None,
        add_watermarker=False,
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    tokenizer = CLIPTokenizer.from_pretrained(f"{POCKET}/tokenizer")
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        out_channels=4,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(4),
        text_encoder=CLIPTextModelWithProjection(text_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer)),
        tokenizer_2=tokenizer,
        text_encoder_3=t5(tokenizer, 64),
        tokenizer_3=tokenizer,
    )


def flux() -> FluxPipeline:
    tokenizer = CLIPTokenizer.from_pretrained(f"{POCKET}/tokenizer")
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(4),
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=t5(tokenizer, 32),
        tokenizer_2=tokenizer,
    )


def saved(pipeline, folder: Path) -> Generator:
    pipeline.save_pretrained(folder)
    return Generator(str(folder), folder_revision(str(folder)), SynthesisConfig())


@pytest.mark.parametrize("family", [stable_diffusion_xl, stable_diffusion_3, flux])
def test_prompts_seeds_and_scales_mix_in_a_batch_of_any_family(family, plan, tmp_path):
    torch.manual_seed(0)
    pipeline = family()
    generator = saved(pipeline, tmp_path / "model")
    row = plan.to_pylist()[0] | {"scheduler": type(pipeline.scheduler).__name__, "guidance_scale": 3.0}
    rows = [row, row | {"prompt": "a cat", "guidance_scale": 6.0, "seed": 2}, row | {"guidance_scale": 1.0}]
    alone = torch.cat([generator.render([one]).pixels for one in rows])
    assert alone.shape == (3, 3, 32, 32)
    assert torch.allclose(generator.render(rows).pixels, alone, atol=1e-3)
    assert not torch.allclose(alone[0], alone[2], atol=1e-4)


def test_what_the_safety_checker_stops_is_marked_and_never_accepted(plan, synthesis, labels, tmp_path):
    """A checker that stops everything: its concepts are all that there is."""
    from figment.clip.scorer import ClipConfig, ClipScorer
    from figment.validation.policies import Top1Policy
    from figment.validation.validate import validate
    from figment.validation.verdicts import reasons

    tiny = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(text_config=tiny, vision_config=tiny | {"image_size": 32, "patch_size": 8}, projection_dim=32)
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(-2.0)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pipeline = StableDiffusionPipeline.from_pretrained(POCKET, safety_checker=checker, feature_extractor=processor)
    pipeline.register_to_config(requires_safety_checker=True)
    folder = str(tmp_path / "checked")
    pipeline.save_pretrained(folder)
    revision = folder_revision(folder)
    rows = (row_of(record) for record in plan.to_pylist())
    plan = make_plan(row.model_copy(update={"model": folder, "revision": revision}) for row in rows)
    pool = Pool(tmp_path / "images")
    synthesise(plan, pool, synthesis)
    verdicts = validate(plan, pool, labels, ClipScorer(ClipConfig(model="local-dir:models/pocket/clip")), Top1Policy())
    assert reasons(verdicts)["unsafe"] == len(plan)
    assert not any(verdicts["accepted"].to_pylist())
