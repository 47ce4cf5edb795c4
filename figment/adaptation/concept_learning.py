"""Learning many pseudo-words side by side on a frozen Stable Diffusion: the draws, the step, the state."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from figment.adaptation.config import InversionConfig
from figment.adaptation.denoising import Denoising, Draw, Photos
from figment.errors import InputError
from figment.files import atomic, canonical_json
from figment.keys import checkpoint_key
from figment.loop import Part, Row, Stateful, copies
from figment.planning.generator_config import GeneratorConfig
from figment.synthesis.concepts import concepts_in_place, placeholder, tensor_name, text_encoders
from figment.synthesis.renderers import is_out_of_memory

CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)
NEUTRAL = "the"  # the word that DIAGen's concepts start from
WEIGHT_DECAY = 0.01


class Learning(Denoising):
    """The vectors, the optimiser and the frozen model."""

    name, unit, rate = "concepts", "step", "adaptation.inversion.learning_rate"

    def __init__(self, generator: GeneratorConfig, photos: Photos, names: Mapping[str, str], config: InversionConfig):
        super().__init__(generator, photos, config)
        self.config: InversionConfig = config
        self.count = self.steps = config.steps
        self.words = {name: names[name] if config.initialise == "name" else NEUTRAL for name in self.names}
        self.vectors = {name: self.first_vectors(self.words[name]) for name in self.names}
        self.averages = {name: p.detach().clone() for name, p in self.parameters().items()}
        self.skipped = dict.fromkeys(self.names, 0)
        self.optimizer = torch.optim.AdamW(
            [p for own in self.vectors.values() for p in own.values()], config.learning_rate, weight_decay=WEIGHT_DECAY
        )
        unimportant = {"max_batch", "device", "imported"}
        self.made_from = {**self.origin, **config.model_dump(mode="json", exclude=unimportant)}
        chosen = config.model_dump(mode="json", exclude=unimportant, exclude_defaults=True)
        self.key = checkpoint_key(
            CHECKPOINT_VERSION, **self.origin, config=chosen, words=self.words, photos=self.photos
        )

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
        """What a step shows of a concept: its prompts say the concept's word."""
        return self.show(name, [placeholder(name)] * len(self.latents[name][0]), step)

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
                    f"adaptation.inversion.max_batch: {len(names)} images in one pass do not fit in memory; choose fewer"
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
        return self.errors(x, e, t, meaning)

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

    def load_averages(self, averages: dict[str, Tensor]) -> None:
        self.averages = {name: average.to(self.device) for name, average in averages.items()}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        loss = self.step(first)
        yield None
        yield from self.spaced(loss, sum(self.skipped.values()), last)

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
