"""A linear classifier on cached features of a frozen backbone."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.loop import Log, Row, Stateful, Trainer, draws, fit
from figment.metrics.accuracy import macro_accuracy
from figment.training.config import HeadConfig


@dataclass(frozen=True)
class FeatureSet:
    """``features`` (N, V, D) of images in V views, ``labels`` (N,)."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> "FeatureSet":
        return FeatureSet(self.features[rows], self.labels[rows])


@dataclass(frozen=True)
class HeadTraining:
    """How a head of so many ``classes`` is trained. ``held_out`` images, seen in their first view, choose the step that is kept:
    a copy, which later steps do not move. Without them it is the last."""

    classes: int
    config: HeadConfig
    seed: int
    held_out: FeatureSet | None = None


@dataclass
class TrainedHead:
    """``head`` D -> C, and the curve: (step, {loss, validation_accuracy})."""

    head: nn.Linear
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    kept: int = 0  # the step whose weights these are


def train_head(
    images: FeatureSet, law: Tensor, training: HeadTraining, log: Log = lambda step, metrics: None
) -> TrainedHead:
    """Cross-entropy over items drawn by ``law`` (N,), each in a view drawn at random."""
    trainer = _Trainer(images, law, training)
    state = fit(trainer, log=log)
    return TrainedHead(trainer.model, state.history, state.kept)


class _Trainer(Trainer):
    name, unit = "head", "step"
    model: nn.Linear

    def __init__(self, images: FeatureSet, law: Tensor, training: HeadTraining):
        config = training.config
        self.images, self.law, self.config, self.held_out = images, law, config, training.held_out
        self.count = self.steps = config.steps
        self.round_size = config.validate_every
        self.chosen_by = None if self.held_out is None else "validation_accuracy"
        self.generator = torch.Generator().manual_seed(training.seed)
        self.model = nn.Linear(images.features.shape[2], training.classes)
        bound = self.model.in_features**-0.5
        for parameter in self.model.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=self.generator)  # as nn.Linear does it
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def parts(self) -> dict[str, Stateful]:
        return super().parts() | {"draws": draws(self.generator)}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        batch, features = self.config.batch_size, self.images.features
        items = torch.multinomial(self.law, (last - first) * batch, replacement=True, generator=self.generator)
        views = torch.randint(features.shape[1], (len(items),), generator=self.generator)
        for rows, seen in zip(items.split(batch), views.split(batch), strict=True):
            loss = F.cross_entropy(self.model(features[rows, seen]), self.images.labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            yield None
        metrics = {"loss": loss.item()}
        if self.held_out is not None:
            logits = logits_of(self.model, self.held_out.features[:, 0])
            metrics["validation_accuracy"] = macro_accuracy(logits, self.held_out.labels)
        yield last, metrics


@torch.inference_mode()
def logits_of(head: nn.Linear, features: Tensor) -> Tensor:
    """(..., C) from features (..., D)."""
    return head(features)
