"""Learning many pseudo-words side by side on a frozen Stable Diffusion: the draws, the step, the state."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from figment.adaptation.config import InversionConfig
from figment.errors import InputError
from figment.files import atomic, canonical_json, digest
from figment.keys import checkpoint_key
from figment.loop import Part, Row, Stateful, Trainer, copies
from figment.planning.generator_config import GeneratorConfig
from figment.planning.row import seed_of
from figment.synthesis.concepts import concepts_in_place, placeholder, tensor_name, text_encoders
from figment.synthesis.config import SynthesisConfig
from figment.synthesis.generator import Generator
from figment.synthesis.renderers import is_out_of_memory
from figment.synthesis.weights import model_revision

CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)
Photos = Mapping[str, Sequence[np.ndarray]]
NEUTRAL = "the"  # the word that DIAGen's concepts start from
WEIGHT_DECAY = 0.01


class Draw(NamedTuple):
    """What one concept is shown in a step: B pictures, noises, times and prompts."""

    clean: Tensor  # (B, C, h, w) latents
    noise: Tensor
    times: Tensor  # (B,)
    prompts: list[str]


class Learning(Trainer):
    """The vectors, the optimiser and the frozen model. What a step draws follows from the seed, the concept and the step's
    number alone, so there is no random state to keep."""

    name, unit, rate = "concepts", "step", "inversion.learning_rate"

    def __init__(self, generator: GeneratorConfig, photos: Photos, names: Mapping[str, str], config: InversionConfig):
        self.config, self.names = config, sorted(photos)
        self.count = self.steps = config.steps
        self.losses: list[float] = []  # since the last row
        revision = model_revision(generator)
        loaded = Generator(
            generator.model, revision, SynthesisConfig(dtype=config.dtype, device=config.device, batch_size=1)
        )
        self.pipeline: Any = loaded.pipeline
        if not isinstance(self.pipeline, StableDiffusionPipeline | StableDiffusionXLPipeline):
            raise InputError(
                f"generator.model: {type(self.pipeline).__name__} cannot learn words here; choose a Stable Diffusion 1.x, "
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
        self.words = {name: names[name] if config.initialise == "name" else NEUTRAL for name in self.names}
        self.vectors = {name: self.first_vectors(self.words[name]) for name in self.names}
        self.averages = {name: p.detach().clone() for name, p in self.parameters().items()}
        self.skipped = dict.fromkeys(self.names, 0)
        self.optimizer = torch.optim.AdamW(
            [p for own in self.vectors.values() for p in own.values()], config.learning_rate, weight_decay=WEIGHT_DECAY
        )
        model = {"model": generator.model, "revision": revision, "size": self.size}
        unimportant = {"max_batch", "device", "imported"}
        self.made_from = {**model, **config.model_dump(mode="json", exclude=unimportant)}
        pictures = {
            name: [[p.shape, hashlib.sha256(p.tobytes()).hexdigest()] for p in photos[name]] for name in self.names
        }
        chosen = config.model_dump(mode="json", exclude=unimportant, exclude_defaults=True)
        self.key = checkpoint_key(CHECKPOINT_VERSION, **model, config=chosen, words=self.words, photos=pictures)

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

    def first_vectors(self, word: str) -> dict[str, nn.Parameter]:
        """The embeddings of the word's tokens, each vector the mean of its share of them."""
        vectors = {}
        for component, encoder in text_encoders(self.pipeline).items():
            tokenizer = self.pipeline.components[component.replace("text_encoder", "tokenizer")]
            ids = tokenizer(word, add_special_tokens=False).input_ids
            rows = encoder.get_input_embeddings().weight[ids].float()  # (n, D)
            vectors[component] = nn.Parameter(F.adaptive_avg_pool1d(rows.t(), self.config.vectors).t().contiguous())
        return vectors

    def draw(self, name: str, step: int) -> Draw:
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
        said = torch.randint(len(config.templates), (config.batch_size,), generator=random).tolist()
        prompts = [config.templates[i].replace("{name}", placeholder(name)) for i in said]
        return Draw(mean[chosen, mirrored] + deviation[chosen, mirrored] * spread, noise, times, prompts)

    def step(self, step: int) -> float:
        """One update of every concept; the mean loss. A concept whose loss or gradient is no number is left as it is."""
        samples = [(name, *sample) for name in self.names for sample in zip(*self.draw(name, step), strict=True)]
        losses: dict[str, list[float]] = {name: [] for name in self.names}
        self.optimizer.zero_grad(set_to_none=True)
        for start in range(0, len(samples), self.config.max_batch):
            names, *draw = zip(*samples[start : start + self.config.max_batch], strict=True)
            try:
                loss = self.loss(names, *draw)
                (loss.sum() / self.config.batch_size).backward()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise InputError(
                    f"inversion.max_batch: {len(names)} pictures in one pass do not fit in memory; choose fewer"
                ) from error
            for name, value in zip(names, loss.tolist(), strict=True):
                losses[name].append(value)
        for name, own in self.vectors.items():
            finite = all(bool(p.grad.isfinite().all()) for p in own.values() if p.grad is not None)
            if not (finite and all(map(math.isfinite, losses[name]))):
                del losses[name]
                self.skipped[name] += 1
                for parameter in own.values():
                    parameter.grad = None
        self.optimizer.step()
        self.average(step)
        return float(np.mean(list(losses.values()))) if losses else math.nan

    def average(self, step: int) -> None:
        """Take this step's vectors into the mean of the last ones, which is calmer than any of them."""
        first = min(math.floor(self.config.steps * (1 - self.config.average)), self.config.steps - 1)
        if step >= first:
            for name, parameter in self.parameters().items():
                self.averages[name].lerp_(parameter.detach(), 1 / (step - first + 1))

    def loss(
        self,
        names: Sequence[str],
        clean: Sequence[Tensor],
        noise: Sequence[Tensor],
        times: Sequence[Tensor],
        prompts: Sequence[str],
    ) -> Tensor:
        """(B,) mean squared error of each sample's predicted noise, or of its velocity."""
        x, e, t = torch.stack(list(clean)), torch.stack(list(noise)), torch.stack(list(times))
        concepts = [(name, self.vectors[name]) for name in names]
        with concepts_in_place(self.pipeline, prompts, concepts) as texts:
            meaning = self.encoder.encode(texts)
        conditions: dict[str, Any] = {}
        if "pooled_prompt_embeds" in meaning:  # XL is told the picture's size, and that nothing was cropped
            width, height = self.size
            sizes = torch.tensor([[height, width, 0, 0, height, width]] * len(x), device=self.device)
            conditions["added_cond_kwargs"] = {"text_embeds": meaning["pooled_prompt_embeds"], "time_ids": sizes}
        unet = self.pipeline.unet
        noisy = self.scheduler.add_noise(x, e, t).to(unet.dtype)
        predicted = unet(noisy, t, encoder_hidden_states=meaning["prompt_embeds"], **conditions).sample
        by_velocity = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(x, e, t) if by_velocity else e
        return (predicted.float() - target).square().flatten(1).mean(1)

    def parameters(self) -> dict[str, nn.Parameter]:
        """All vectors by their names in the concepts file."""
        return {tensor_name(n, name): p for name, own in self.vectors.items() for n, p in own.items()}

    def parts(self) -> dict[str, Stateful]:
        return {
            "vectors": Part(self.weights, self.load),
            "averages": Part(lambda: copies(self.averages), self.load_averages),
            "optimizer": self.optimizer,
            "skipped": Part(lambda: dict(self.skipped), self.skipped.update),
        }

    def weights(self) -> dict[str, Tensor]:
        return copies(self.parameters())

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters().items():
            parameter.data.copy_(weights[name])

    def load_averages(self, averages: dict[str, Tensor]) -> None:
        self.averages = {name: average.to(self.device) for name, average in averages.items()}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        """One step; some fifty times in all the mean loss since the last time, and how many losses were no number."""
        self.losses.append(self.step(first))
        yield None
        if last % max(1, self.steps // 50) == 0 or last == self.steps:
            finite = [loss for loss in self.losses if math.isfinite(loss)]
            row = {"skipped": float(sum(self.skipped.values()))}
            self.losses.clear()
            yield last, row | ({"loss": float(np.mean(finite))} if finite else {})

    def write(self, folder: Path) -> Path:
        """``<folder>/<sha256>.safetensors``: the vectors, and as metadata what they were made from."""
        concepts = {name: {"word": self.words[name], "skipped": self.skipped[name]} for name in self.names}
        tensors = {name: average.cpu().contiguous() for name, average in self.averages.items()}
        # One entry of metadata: several would be written in another order each time.
        content = save(tensors, {"figment": canonical_json({**self.made_from, "concepts": concepts})})
        path = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
        with atomic(path) as partial:
            partial.write_bytes(content)
        return path
