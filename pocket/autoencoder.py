"""Stage one of the pocket generator: the autoencoder, trained first and to the end, for it caps all that follows."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from pocket.loop import Progress, TrainingLoop
from pocket.world import Scenes


def build_autoencoder() -> AutoencoderTiny:
    """TAESD's architecture at pocket size: 32 px -> 16 channels at 8x8; f4; 0.2 M parameters."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32),
        decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
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
    """Peak signal-to-noise ratio in dB of pictures in [-1, 1]."""
    return float(10 * torch.log10(4 / F.mse_loss(output.clamp(-1, 1), target)))


def train_autoencoder(
    scenes: Scenes,
    held_out: Scenes,
    folder: Path,
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    latent_noise: float = 0.05,
    seed: int = 0,
    report: Progress = print,
) -> AutoencoderTiny:
    """Train on ``scenes`` and write a diffusers folder. Resumes from ``folder``'s checkpoint; ``held_out`` is reported.

    A little noise on the latents teaches the decoder to forgive what a sampler leaves behind.
    """
    torch.manual_seed(seed)
    model = build_autoencoder()
    loop = TrainingLoop(
        model,
        folder / "checkpoint.safetensors",
        identity={"batch_size": batch_size, "scenes": scenes.digest},
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
    )
    validation = held_out.batch(torch.arange(min(512, len(held_out.captions))))

    for step, rows in loop.batches(len(scenes.captions), batch_size):
        target = scenes.batch(rows)
        latents = model.encode(target).latents
        noise = torch.randn(latents.shape, generator=loop.generator) * latent_noise
        loss = reconstruction_loss(model.decode(latents + noise).sample, target)
        # Each channel near N(0, 1): what the sampler starts from, and inside the decoder's soft clamp at +-3.
        centre, scale = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        loss = loss + 1e-2 * (centre.square() + (scale - 1).square()).mean()
        loop.update(loss)
        if step % 200 == 0 or step == steps:
            with torch.no_grad(), loop.averaged():
                quality = psnr(model.decode(model.encode(validation).latents).sample, validation)
            report("autoencoder", step, {"loss": loop.mean_loss, "psnr": quality})

    loop.load_average()
    with torch.no_grad():
        spread = float(model.encode(validation).latents.std())
    model.register_to_config(scaling_factor=1 / spread)
    return model
