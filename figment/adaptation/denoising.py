"""What is learned on a frozen Stable Diffusion from photos: what a step shows, and how far the network is from it."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch import Tensor, nn

from figment.adaptation.config import InversionConfig, LoraConfig
from figment.errors import InputError
from figment.files import digest
from figment.loop import Row, Trainer, copies
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import seed_of
from figment.synthesis.concepts import text_encoders
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator
from figment.synthesis.weights import model_revision

Photos = Mapping[str, Sequence[np.ndarray]]


class Draw(NamedTuple):
    """What a step shows: B images, noises, times and prompts."""

    clean: Tensor  # (B, C, h, w) latents
    noise: Tensor
    times: Tensor  # (B,)
    prompts: list[str]


class Denoising(Trainer):
    """A frozen model and the photos of each class. What a step draws follows from the seed, the class and the step's number
    alone, so there is no random state to keep."""

    def __init__(self, generator: GeneratorConfig, photos: Photos, config: InversionConfig | LoraConfig):
        self.config, self.names = config, sorted(photos)
        self.losses: list[float] = []  # since the last row
        revision = model_revision(generator)
        loaded = Generator(
            generator.model, revision, SynthesisConfig(dtype=config.dtype, device=config.device, batch_size=1)
        )
        self.pipeline: Any = loaded.pipeline
        if not isinstance(self.pipeline, StableDiffusionPipeline | StableDiffusionXLPipeline):
            raise InputError(
                f"generator.model: {type(self.pipeline).__name__} cannot learn from photos here; choose a Stable Diffusion 1.x, "
                "2.x or XL model"
            )
        self.device, self.encoder = loaded.device, loaded.encode
        for module in (self.pipeline.unet, self.pipeline.vae, *text_encoders(self.pipeline).values()):
            module.eval().requires_grad_(False)
        self.scheduler = DDPMScheduler.from_config(self.pipeline.scheduler.config)
        if self.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise InputError(
                f"generator.model: predicts {self.scheduler.config.prediction_type!r}; expected epsilon or v_prediction"
            )
        self.size = generator.width, generator.height
        self.latents = {name: self.encode_photos(photos[name]) for name in self.names}
        self.origin = {"model": generator.model, "revision": revision, "size": self.size}
        self.photos = {
            name: [[p.shape, hashlib.sha256(p.tobytes()).hexdigest()] for p in photos[name]] for name in self.names
        }

    @abstractmethod
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is learned, by its name in the file that is written."""

    def weights(self) -> dict[str, Tensor]:
        """Copies of what is learned."""
        return copies(self.parameters())

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put back what ``weights`` gave."""
        for name, parameter in self.parameters().items():
            parameter.data.copy_(weights[name])

    def spaced(self, loss: float, skipped: int, step: int) -> Iterator[Row]:
        """Some fifty times in all the mean loss since the last time, and how many losses were no number so far."""
        self.losses.append(loss)
        steps = self.config.steps
        if step % max(1, steps // 50) == 0 or step == steps:
            finite = [loss for loss in self.losses if math.isfinite(loss)]
            self.losses.clear()
            yield step, {"skipped": float(skipped)} | ({"loss": float(np.mean(finite))} if finite else {})

    @torch.no_grad()
    def encode_photos(self, photos: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Mean and deviation (N, 2, C, h, w) of the latents of N photos as they are and mirrored."""
        vae, means, deviations = self.pipeline.vae, [], []
        for photo in photos:
            squashed = Image.fromarray(photo).resize(self.size, Image.Resampling.BICUBIC)
            pixels = torch.from_numpy(np.array(squashed)).permute(2, 0, 1).float() / 127.5 - 1
            coded = vae.encode(torch.stack([pixels, pixels.flip(-1)]).to(self.device, vae.dtype))
            spread = getattr(coded, "latent_dist", None)  # a small autoencoder has no distribution
            means.append((spread.mean if spread else coded.latents).float())
            deviations.append(spread.std.float() if spread else torch.zeros_like(means[-1]))
        scale = vae.config.scaling_factor
        return torch.stack(means) * scale, torch.stack(deviations) * scale

    def show(self, name: str, said: Sequence[str], step: int) -> Draw:
        """What the class ``name`` is shown; ``said[i]`` is what prompts say where its photo i is shown."""
        config = self.config
        random = torch.Generator().manual_seed(seed_of(digest([config.seed, name, step])))
        mean, deviation = self.latents[name]
        chosen = torch.randint(len(mean), (config.batch_size,), generator=random)
        mirrored = (torch.rand(config.batch_size, generator=random) < config.flip).long()
        shape = config.batch_size, *mean.shape[2:]
        spread, noise = (torch.randn(shape, generator=random).to(self.device) for _ in range(2))
        # One time of each stratum: the same expectation as independent ones, a calmer loss.
        times = torch.arange(config.batch_size) + torch.rand(config.batch_size, generator=random)
        times = (times / config.batch_size * self.scheduler.config.num_train_timesteps).long().to(self.device)
        drawn = torch.randint(len(config.templates), (config.batch_size,), generator=random).tolist()
        prompts = [
            config.templates[i].replace("{name}", said[photo]) for i, photo in zip(drawn, chosen.tolist(), strict=True)
        ]
        return Draw(mean[chosen, mirrored] + deviation[chosen, mirrored] * spread, noise, times, prompts)

    def errors(self, x: Tensor, e: Tensor, t: Tensor, meaning: Mapping[str, Tensor]) -> Tensor:
        """(B,) mean squared error of each sample's predicted noise, or of its velocity: of latents ``x`` under noises ``e`` at
        times ``t``, with embedded prompts."""
        conditions: dict[str, Any] = {}
        if "pooled_prompt_embeds" in meaning:  # XL is told the image's size, and that nothing was cropped
            width, height = self.size
            sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(x), device=self.device)
            conditions["added_cond_kwargs"] = {"text_embeds": meaning["pooled_prompt_embeds"], "time_ids": sizes}
        unet = self.pipeline.unet
        noisy = self.scheduler.add_noise(x, e, t).to(unet.dtype)
        predicted = unet(noisy, t, encoder_hidden_states=meaning["prompt_embeds"], **conditions).sample
        by_velocity = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(x, e, t) if by_velocity else e
        return (predicted.float() - target).square().flatten(1).mean(1)
