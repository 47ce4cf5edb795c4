"""A linear head on CLIP's cached features that begins as the zero-shot classifier, and is held near it."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.loop import Log, Row, Trainer, fit
from figment.training.config import ClipHeadConfig
from figment.training.loader import full_batches


def train_clip_head(
    features: Tensor,
    labels: Tensor,
    text: Tensor,
    scale: float,
    config: ClipHeadConfig,
    seed: int,
    log: Log = lambda step, metrics: None,
) -> Tensor:
    """Unit class vectors (C, D) from unit image ``features`` (N, D) with ``labels`` (N,), beginning as ``text`` (C, D); logits
    are ``scale`` times their cosines. Raises InputError if the loss stops being a number."""
    trainer = _Trainer(features, labels, text, scale, config, seed)
    fit(trainer, log=log)
    return F.normalize(trainer.model.weight.detach(), dim=1)


class _Trainer(Trainer):
    name, rate = "CLIP head", "training.self_training.clip_head.learning_rate"
    model: nn.Linear

    def __init__(self, features: Tensor, labels: Tensor, text: Tensor, scale: float, config: ClipHeadConfig, seed: int):
        self.features, self.labels, self.scale, self.config, self.seed = features, labels, scale, config, seed
        self.zero_shot = (scale * features @ text.T / config.temperature).softmax(1)
        self.count = config.epochs
        self.steps = config.epochs * -(-len(labels) // config.batch_size)
        self.model = nn.Linear(text.shape[1], text.shape[0], bias=False)
        self.model.weight.data.copy_(text)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first)
        step, t, hard = first * self.steps // self.count, self.config.temperature, self.config.hard
        loss = torch.zeros(())
        for rows in full_batches(len(self.labels), self.config.batch_size, generator):
            self.optimizer.param_groups[0]["lr"] = (
                self.config.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2
            )
            logits = self.scale * self.features[rows] @ F.normalize(self.model.weight, dim=1).T
            soft = F.cross_entropy(logits / t, self.zero_shot[rows])
            loss = hard * F.cross_entropy(logits, self.labels[rows]) + (1 - hard) * t**2 * soft
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            step += 1
            yield None
        yield last, {"loss": loss.item()}
