"""Stage one of the pocket generator: the autoencoder, trained first and to the end, for it caps all that follows."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from pocket.config import AutoencoderConfig
from pocket.loop import Progress, TrainingLoop
from pocket.world import Scenes


def build_autoencoder(stage: AutoencoderConfig) -> AutoencoderTiny:
    """TAESD's architecture at pocket size: 32 px -> 16 channels at 8x8; f4."""
    return AutoencoderTiny(
        encoder_block_out_channels=(stage.width,) * 3,
        decoder_block_out_channels=(stage.width,) * 3,
        num_encoder_blocks=(1, stage.blocks, stage.blocks),
        num_decoder_blocks=(stage.blocks, stage.blocks, 1),
        latent_channels=16,
        upsampling_scaling_factor=2,
        scaling_factor=1.0,
    )


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    return pixels[..., 1:] - pixels[..., :-1], pixels[..., 1:, :] - pixels[..., :-1, :]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Squared error keeps colours, the error of the gradients keeps outlines."""
    pixel = F.mse_loss(output, target)
    return pixel + sum(F.l1_loss(a, b) for a, b in zip(edges(output), edges(target), strict=True)) * 0.1


def psnr(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [-1, 1]."""
    return float(10 * torch.log10(4 / F.mse_loss(output.clamp(-1, 1), target)))


def train_autoencoder(
    scenes: Scenes,
    held_out: Scenes,
    folder: Path,
    stage: AutoencoderConfig,
    *,
    device: str = "cpu",
    report: Progress = print,
) -> AutoencoderTiny:
    """Train on ``scenes`` and return the averaged model. Resumes from ``folder``'s checkpoint; ``held_out`` is reported.

    A little noise on the latents makes the decoder tolerate what a sampler leaves.
    """
    torch.manual_seed(stage.seed)
    if stage.start:
        model = AutoencoderTiny.from_pretrained(stage.start, torch_dtype=torch.float32).to(device)
        model.encoder.requires_grad_(False)
    else:
        model = build_autoencoder(stage).to(device)
    loop = TrainingLoop.of(model, folder, stage, scenes.digest, ema=0.998)
    validation = held_out.batch(torch.arange(min(512, len(held_out.captions)))).to(device)

    for step, rows in loop.batches(len(scenes.captions), stage.batch_size):
        target = scenes.batch(rows)
        with loop.autocast():
            latents = model.encode(target).latents
            noise = torch.randn(latents.shape, generator=loop.generator, device=loop.device) * stage.latent_noise
            output = model.decode(latents + noise).sample
        loss = reconstruction_loss(output.float(), target)
        # Each channel near N(0, 1): what the sampler starts from, and inside the decoder's soft clamp at +-3.
        centre, scale = latents.float().mean((0, 2, 3)), latents.float().std((0, 2, 3))
        loss = loss + 1e-2 * (centre.square() + (scale - 1).square()).mean()
        loop.update(loss)
        if loop.due(200):
            with torch.no_grad(), loop.averaged():
                quality = psnr(model.decode(model.encode(validation).latents).sample, validation)
            report("autoencoder", step, {"loss": loop.mean_loss, "psnr": quality})

    loop.load_average()
    if not stage.start:
        with torch.no_grad():
            spread = float(model.encode(validation).latents.std())
        model.register_to_config(scaling_factor=1 / spread)
    return model.eval()
