"""Stage three: the latent diffusion model, a StableDiffusionPipeline folder that differs from the real one in size only."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from figment.files import write_json
from pocket.augmentation import uniform
from pocket.config import GeneratorTrainingConfig
from pocket.loop import Progress, TrainingLoop, autocast
from pocket.tokenizer import CONTEXT_LENGTH
from pocket.world import Scenes, fingerprint


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            projection_dim=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(latent_size: int, latent_channels: int, stage: GeneratorTrainingConfig) -> UNet2DConditionModel:
    """Cross-attention where ``stage.attention`` says; ``attention_head_dim`` counts heads here, as in SD 1."""
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=stage.channels,
        layers_per_block=stage.layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in stage.attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if here else "UpBlock2D" for here in reversed(stage.attention)),
        cross_attention_dim=128,
        attention_head_dim=[width // 32 for width in stage.channels],
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text" if stage.pooled_text else None,
        addition_embed_type_num_heads=4,
    )


def attention_backend(device: torch.device) -> contextlib.AbstractContextManager:
    """On a CPU, plain matrix products: twice the training speed of the fused kernel at 64 tokens in bfloat16."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext()


def build_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def assemble(
    vae: AutoencoderTiny, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def encode_latents(vae: AutoencoderTiny, scenes: Scenes, batch_size: int = 250) -> Tensor:
    """Latents (N, C, h, w) of all scenes, scaled to unit variance, kept as fp16: 2 kB an image at 32 px."""
    device, parts = next(vae.parameters()).device, []
    for rows in torch.arange(len(scenes.captions)).split(batch_size):
        images = scenes.batch(rows).to(device, memory_format=torch.channels_last)
        with autocast(device):
            latents = vae.encode(images).latents
        parts.append((latents.float() * vae.config.scaling_factor).half().cpu().contiguous())
    return torch.cat(parts)


def train_generator(
    vae: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    latents: Tensor,
    captions: list[str],
    folder: Path,
    stage: GeneratorTrainingConfig,
    *,
    device: str = "cpu",
    report: Progress = print,
    look: Callable[[StableDiffusionPipeline], Mapping[str, float]] = lambda pipeline: {},
) -> StableDiffusionPipeline:
    """v-prediction on pre-encoded latents, the text encoder trained along (its states cost little at this size).

    With ``stage.min_snr``, steps are weighted as in "Efficient Diffusion Training via Min-SNR Weighting Strategy" (Hang et
    al. 2023): min(SNR, gamma) / (SNR + 1) for v-prediction. Every ``stage.look_every`` steps ``look``
    measures the averaged weights.
    """
    torch.manual_seed(stage.seed)
    if stage.start:
        unet = UNet2DConditionModel.from_pretrained(stage.start, subfolder="unet", torch_dtype=torch.float32)
        text_encoder = CLIPTextModel.from_pretrained(stage.start, subfolder="text_encoder", dtype=torch.float32)
    else:
        unet = build_unet(latents.shape[-1], latents.shape[1], stage)
        text_encoder = build_text_encoder(tokenizer)
    modules = (
        nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}).to(device).to(memory_format=torch.channels_last)
    )
    loop = TrainingLoop.of(modules, folder, stage, fingerprint(latents), ema=stage.ema)
    scheduler = build_scheduler()
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
    empty = tokenizer([""], padding="max_length", return_tensors="pt").input_ids.to(device)
    latents, horizon = latents.to(device), scheduler.config.num_train_timesteps
    signal = scheduler.alphas_cumprod.to(device)
    weights = (
        (signal / (1 - signal)).clamp(max=stage.min_snr) * (1 - signal) if stage.min_snr else torch.ones_like(signal)
    )
    predict = torch.compile(unet) if stage.compile else unet

    for step, rows in loop.batches(len(latents), stage.batch_size):
        clean, count = latents[rows].float(), len(rows)
        noise = torch.randn(clean.shape, generator=loop.generator, device=loop.device)
        # One draw per stratum of the time axis: the same expectation, a calmer loss.
        strata = torch.arange(count, device=loop.device) + uniform(loop.generator, count)
        times = (strata / count * horizon).long()
        dropped = uniform(loop.generator, count, 1) < stage.caption_dropout
        alpha = signal[times][:, None, None, None]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        with loop.autocast(), attention_backend(loop.device):
            context = text_encoder(torch.where(dropped, empty, tokens[rows])).last_hidden_state
            predicted = predict(noisy, times, encoder_hidden_states=context).sample
        errors = (predicted.float() - velocity).square().mean((1, 2, 3))
        loop.update((errors * weights[times]).mean())
        if loop.due(100):
            report("generator", step, {"loss": loop.mean_loss, "samples": step * stage.batch_size})
        if stage.look_every and loop.due(stage.look_every):
            with loop.averaged():
                report("generator", step, look(assemble(vae, unet, text_encoder, tokenizer)))

    loop.load_average()
    return assemble(vae, unet.eval(), text_encoder.eval(), tokenizer)


def save_generator(pipeline: StableDiffusionPipeline, objects: Sequence[str], folder: Path) -> None:
    """fp16 weights in a diffusers folder, and ``vocabulary.json``: the names that the model knows."""
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    for part in ("vae", "unet", "text_encoder"):
        config_file = folder / part / "config.json"
        config = json.loads(config_file.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # where training started from
        if part == "vae":
            config.pop("block_out_channels", None)  # AutoencoderTiny derives it and warns when it reads it
        write_json(config_file, config)
    write_json(folder / "vocabulary.json", sorted(objects))
