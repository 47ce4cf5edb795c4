"""Tiny pipelines of every family, with random weights: seconds each on a CPU."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers as d
import torch
import transformers as t
from torch import nn

from figment.synthesis.families import BY_CLASS, Family

POCKET = Path("models/pocket/diffusion")
FLOW = d.FlowMatchEulerDiscreteScheduler
SHIFTED = {"use_dynamic_shifting": True}  # as Flux and those after it
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}"
    "{% endif %} {% endfor %}"
)


def tokenizer(length: int | None = None) -> t.CLIPTokenizer:
    """The embedded models' tokenizer, in the place of every family's: one word is about one token."""
    loaded = t.CLIPTokenizer.from_pretrained(POCKET / "tokenizer")
    loaded.model_max_length = length or loaded.model_max_length
    loaded.chat_template = TEMPLATE
    return loaded


WORDS = len(tokenizer())


def clip(kind: type = t.CLIPTextModel) -> Any:
    words = tokenizer()
    tokens = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    length = {"max_position_embeddings": words.model_max_length, "projection_dim": 32}
    return kind(t.CLIPTextConfig(vocab_size=WORDS, **sizes, **tokens, **length))


def t5(kind: type = t.T5EncoderModel, config: type = t.T5Config) -> Any:
    return kind(config(vocab_size=WORDS, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4))


def decoder_only(kind: type, config: type, width: int = 16, layers: int = 2, **more: Any) -> Any:
    return kind(config(**text_sizes(width, layers), **more))


def text_sizes(width: int, layers: int) -> dict[str, Any]:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": width // 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return (
        {"vocab_size": WORDS, "hidden_size": width, "intermediate_size": 32, "num_hidden_layers": layers}
        | heads
        | tokens
    )


def vae(channels: int = 4, blocks: int = 2, kind: type = d.AutoencoderKL, **more: Any) -> Any:
    sizes = {"block_out_channels": (8,) * blocks, "norm_num_groups": 4, "sample_size": 32, "latent_channels": channels}
    down = ("DownEncoderBlock2D",) * blocks
    return kind(down_block_types=down, up_block_types=("UpDecoderBlock2D",) * blocks, **sizes, **more)


def flow_vae() -> Any:
    return vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5)


def video_vae() -> Any:
    latents = {"latents_mean": [0.1] * 4, "latents_std": [1.1] * 4}
    return d.AutoencoderKLQwenImage(
        base_dim=12, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False], **latents
    )


def unet(**more: Any) -> Any:
    sizes = {"block_out_channels": (16, 32), "layers_per_block": 1, "sample_size": 16, "norm_num_groups": 8}
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return d.UNet2DConditionModel(**blocks, **({"cross_attention_dim": 32, "attention_head_dim": 4} | sizes | more))


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def stable_diffusion(scheduler: Any = None, **more: Any) -> Any:
    scheduler = scheduler or d.PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    return d.StableDiffusionPipeline(vae(), clip(), tokenizer(), unet(**more), scheduler, **UNCHECKED)


def stable_diffusion_2() -> Any:
    """Velocity prediction and linear projections."""
    return stable_diffusion(d.DDIMScheduler(**BETAS, prediction_type="v_prediction"), use_linear_projection=True)


def stable_diffusion_xl(scheduler: Any = None) -> Any:
    sizes = {"attention_head_dim": (2, 4), "use_linear_projection": True, "cross_attention_dim": 64}
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return d.StableDiffusionXLPipeline(
        vae(), clip(), clip(t.CLIPTextModelWithProjection), tokenizer(), tokenizer(),
        unet(**sizes, **added, projection_class_embeddings_input_dim=32 + 6 * 8),
        scheduler or d.EulerDiscreteScheduler(**BETAS), add_watermarker=False,
    )  # fmt: skip


def stable_diffusion_xl_turbo() -> Any:
    return stable_diffusion_xl(d.EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"))


def stable_diffusion_3() -> Any:
    sizes = {"sample_size": 16, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 2}
    heads = {"attention_head_dim": 8, "num_attention_heads": 4, "caption_projection_dim": 32}
    transformer = d.SD3Transformer2DModel(**sizes, **heads, joint_attention_dim=64, pooled_projection_dim=64)
    encoders = clip(t.CLIPTextModelWithProjection), tokenizer(), clip(t.CLIPTextModelWithProjection), tokenizer()
    third = t.T5EncoderModel(t.T5Config(vocab_size=WORDS, d_model=64, d_kv=8, d_ff=64, num_layers=1, num_heads=4))
    return d.StableDiffusion3Pipeline(transformer, FLOW(shift=3.0), flow_vae(), *encoders, third, tokenizer(256))


def lcm() -> Any:
    network = unet(time_cond_proj_dim=16)
    return d.LatentConsistencyModelPipeline(vae(), clip(), tokenizer(), network, d.LCMScheduler(**BETAS), **UNCHECKED)


def flux(guided: bool = True) -> Any:
    sizes = {"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16}
    transformer = d.FluxTransformer2DModel(
        **sizes, num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )  # fmt: skip
    return d.FluxPipeline(FLOW(**SHIFTED), flow_vae(), clip(), tokenizer(), t5(), tokenizer(512), transformer)


def flux_2_parts(width: int, guided: bool) -> tuple[Any, Any]:
    sizes = {"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16}
    transformer = d.Flux2Transformer2DModel(
        **sizes, num_attention_heads=2, joint_attention_dim=width, timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4), guidance_embeds=guided,
    )  # fmt: skip
    return vae(kind=d.AutoencoderKLFlux2), transformer


def flux_2() -> Any:
    text = text_sizes(16, 31) | {"model_type": "mistral"}
    vision = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "head_dim": 8,
    }
    vision |= {"model_type": "pixtral", "image_size": 28, "patch_size": 14}
    config = t.Mistral3Config(text_config=text, vision_config=vision)
    decoder, transformer = flux_2_parts(48, guided=True)
    return d.Flux2Pipeline(
        FLOW(**SHIFTED), decoder, t.Mistral3ForConditionalGeneration(config), tokenizer(512), transformer
    )


def flux_2_klein(distilled: bool = False) -> Any:
    decoder, transformer = flux_2_parts(48, guided=False)
    encoder = decoder_only(t.Qwen3ForCausalLM, t.Qwen3Config, layers=28)
    return d.Flux2KleinPipeline(FLOW(**SHIFTED), decoder, encoder, tokenizer(512), transformer, is_distilled=distilled)


def qwen_image() -> Any:
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}}
    config = t.Qwen2_5_VLConfig(text_config=text_sizes(16, 2) | rope, vision_config=vision)
    transformer = d.QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    encoder = t.Qwen2_5_VLForConditionalGeneration(config)
    return d.QwenImagePipeline(FLOW(**SHIFTED), video_vae(), encoder, tokenizer(1024), transformer)


def z_image() -> Any:
    transformer = d.ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 4, 4], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    encoder = decoder_only(t.Qwen3Model, t.Qwen3Config, layers=3)
    return d.ZImagePipeline(FLOW(shift=3.0), flow_vae(), encoder, tokenizer(512), transformer)


def chroma() -> Any:
    sizes = {"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16}
    transformer = d.ChromaTransformer2DModel(
        **sizes, num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_num_channels=16,
        approximator_hidden_dim=32, approximator_layers=1,
    )  # fmt: skip
    return d.ChromaPipeline(FLOW(**SHIFTED), flow_vae(), t5(), tokenizer(512), transformer)


def pixart(kind: type) -> Any:
    transformer = d.PixArtTransformer2DModel(
        sample_size=32, num_layers=1, attention_head_dim=8, num_attention_heads=2, in_channels=4, out_channels=8,
        cross_attention_dim=16, caption_channels=32, use_additional_conditions=False,
    )  # fmt: skip
    decoder = vae(blocks=4)
    return kind(tokenizer(300), t5(), decoder, transformer, d.DPMSolverMultistepScheduler())


def sana() -> Any:
    transformer = d.SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4, cross_attention_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=4, caption_channels=16, sample_size=16,
    )  # fmt: skip
    blocks = {"encoder_block_out_channels": (8,) * 6, "decoder_block_out_channels": (8,) * 6}
    layers = {"encoder_layers_per_block": (1,) * 6, "decoder_layers_per_block": (1,) * 6}
    scales = {"encoder_qkv_multiscales": ((),) * 6, "decoder_qkv_multiscales": ((),) * 6}
    decoder = d.AutoencoderDC(latent_channels=4, attention_head_dim=4, **blocks, **layers, **scales)
    scheduler = d.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
    )
    return d.SanaPipeline(tokenizer(2000), decoder_only(t.Gemma2Model, t.Gemma2Config), decoder, transformer, scheduler)


def lumina_2() -> Any:
    transformer = d.Lumina2Transformer2DModel(
        sample_size=16, in_channels=4, hidden_size=32, num_layers=1, num_refiner_layers=1, num_attention_heads=2,
        num_kv_heads=2, multiple_of=16, axes_dim_rope=(8, 4, 4), axes_lens=(300, 64, 64), cap_feat_dim=16,
    )  # fmt: skip
    encoder, decoder = decoder_only(t.Gemma2Model, t.Gemma2Config), vae(blocks=4, shift_factor=0.06)
    return d.Lumina2Pipeline(transformer, FLOW(**SHIFTED), decoder, encoder, tokenizer(256))


def aura_flow() -> Any:
    transformer = d.AuraFlowTransformer2DModel(
        sample_size=16, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=32, caption_projection_dim=32, pos_embed_max_size=256,
    )  # fmt: skip
    encoder = t5(t.UMT5EncoderModel, t.UMT5Config)
    return d.AuraFlowPipeline(tokenizer(256), encoder, vae(), transformer, FLOW(shift=1.73))


def cogview_4() -> Any:
    transformer = d.CogView4Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2, text_embed_dim=16,
        time_embed_dim=8, condition_dim=4, sample_size=16, rope_axes_dim=(64, 64),
    )  # fmt: skip
    encoder = decoder_only(t.GlmModel, t.GlmConfig)
    return d.CogView4Pipeline(
        tokenizer(1024), encoder, vae(), transformer, FLOW(base_shift=0.25, max_shift=0.75, **SHIFTED)
    )


def hunyuan_dit() -> Any:
    bert = t.BertModel(
        t.BertConfig(vocab_size=WORDS, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32)
    )
    transformer = d.HunyuanDiT2DModel(
        sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4,
        cross_attention_dim=32, cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=24,
    )  # fmt: skip
    return d.HunyuanDiTPipeline(
        vae(blocks=4), bert, tokenizer(77), transformer, d.DDPMScheduler(**BETAS, prediction_type="v_prediction"),
        None, None, False, t5(), tokenizer(256),
    )  # fmt: skip


def kandinsky_3() -> Any:
    network = d.Kandinsky3UNet(
        time_embedding_dim=16, groups=2, attention_head_dim=4, layers_per_block=2, block_out_channels=(8, 16),
        cross_attention_dim=16, encoder_hid_dim=32,
    )  # fmt: skip
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    decoder = d.VQModel(
        down_block_types=down, up_block_types=up, block_out_channels=(32,) * 4, norm_type="spatial", latent_channels=4,
        num_vq_embeddings=12, vq_embed_dim=4,
    )  # fmt: skip
    scheduler = d.DDPMScheduler(beta_schedule="squaredcos_cap_v2", thresholding=True)
    return d.Kandinsky3Pipeline(tokenizer(128), t5(), network, scheduler, decoder)


def krea_2() -> Any:
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    rope = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}}
    config = t.Qwen3VLConfig(text_config=text_sizes(16, 4) | rope, vision_config=vision)
    transformer = d.Krea2Transformer2DModel(
        in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=3, text_num_attention_heads=2,
        text_num_key_value_heads=1, text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return d.Krea2Pipeline(
        FLOW(**SHIFTED), video_vae(), t.Qwen3VLModel(config), tokenizer(512), transformer,
        text_encoder_select_layers=(1, 2, 3),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model of a family: its weights, and what its rows say."""

    title: str
    pipeline: str
    build: Callable[[], Any]
    row: dict[str, Any] = field(default_factory=dict)
    scales: tuple[float, float] = (2.5, 5.0)  # two that guide

    @property
    def family(self) -> Family:
        return BY_CLASS[self.pipeline]


CASES = (
    Case("Stable Diffusion 1", "StableDiffusionPipeline", stable_diffusion),
    Case("Stable Diffusion 2", "StableDiffusionPipeline", stable_diffusion_2),
    Case("Stable Diffusion XL", "StableDiffusionXLPipeline", stable_diffusion_xl),
    Case("SDXL-Turbo", "StableDiffusionXLPipeline", stable_diffusion_xl_turbo, {"guidance_scale": 0.0}),
    Case("Stable Diffusion 3", "StableDiffusion3Pipeline", stable_diffusion_3),
    Case("LCM", "LatentConsistencyModelPipeline", lcm),
    Case("Flux.1 dev", "FluxPipeline", flux),
    Case("Flux.1 schnell", "FluxPipeline", lambda: flux(guided=False), {"guidance_scale": 0.0}),
    Case("Flux.2 dev", "Flux2Pipeline", flux_2),
    Case("Flux.2 klein (base)", "Flux2KleinPipeline", flux_2_klein),
    Case("Flux.2 klein", "Flux2KleinPipeline", lambda: flux_2_klein(distilled=True), {"guidance_scale": 1.0}),
    Case("Qwen-Image", "QwenImagePipeline", qwen_image),
    Case("Z-Image", "ZImagePipeline", z_image, scales=(0.5, 4.0)),
    Case("Chroma", "ChromaPipeline", chroma),
    Case("PixArt-alpha", "PixArtAlphaPipeline", lambda: pixart(d.PixArtAlphaPipeline)),
    Case("PixArt-Sigma", "PixArtSigmaPipeline", lambda: pixart(d.PixArtSigmaPipeline)),
    Case("Sana", "SanaPipeline", sana),
    Case("Lumina 2", "Lumina2Pipeline", lumina_2),
    Case("AuraFlow", "AuraFlowPipeline", aura_flow),
    Case("CogView 4", "CogView4Pipeline", cogview_4),
    Case("HunyuanDiT", "HunyuanDiTPipeline", hunyuan_dit),
    Case("Kandinsky 3", "Kandinsky3Pipeline", kandinsky_3, {"width": 64, "height": 64}),
    Case("Krea 2", "Krea2Pipeline", krea_2, scales=(0.5, 4.0)),
)


def randomise(module: nn.Module) -> None:
    """Weights that let everything have an effect: networks are often built with zeros where training would begin."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            fan = parameter[0].numel()
            parameter.data = noise / fan**0.5
        else:
            parameter.data = 0.1 * noise + (1 if name.endswith("weight") else 0)


def save(case: Case, folder: Path) -> Path:
    """The case's pipeline in a folder, as diffusers saves it."""
    torch.manual_seed(0)
    pipeline = case.build()
    for name in ("unet", "transformer"):
        if getattr(pipeline, name, None):
            randomise(getattr(pipeline, name))
    pipeline.save_pretrained(folder)
    return folder
