"""A linear classifier on cached features of a frozen backbone."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.metrics.accuracy import macro_accuracy
from figment.training.config import HeadConfig


@dataclass(frozen=True)
class FeatureSet:
    """``features`` (N, V, D) of pictures in V views, ``labels`` (N,)."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Tensor) -> "FeatureSet":
        return FeatureSet(self.features[rows], self.labels[rows])


@dataclass
class TrainedHead:
    """``head`` D -> C, and the curve: (step, {loss, validation_accuracy})."""

    head: nn.Linear
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    kept: int = 0  # the step whose weights these are


def train_head(
    pictures: FeatureSet,
    law: Tensor,
    classes: int,
    config: HeadConfig,
    seed: int,
    held_out: FeatureSet | None = None,
    log: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> TrainedHead:
    """Cross-entropy over items drawn by ``law`` (N,), each in a view drawn at random.

    With ``held_out`` pictures (seen in their first view) the weights of the step with the best macro accuracy on them are
    kept: a copy, which later steps do not move. Otherwise the last.
    """
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(pictures.features.shape[2], classes)
    bound = head.in_features**-0.5
    for parameter in head.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)  # as nn.Linear does it
    optimizer = torch.optim.Adam(head.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
    found, best, best_score = TrainedHead(head), {}, -1.0
    for first in range(0, config.steps, config.validate_every):
        steps = min(config.validate_every, config.steps - first)
        items = torch.multinomial(law, steps * config.batch_size, replacement=True, generator=generator)
        views = torch.randint(pictures.features.shape[1], (len(items),), generator=generator)
        for rows, seen in zip(items.split(config.batch_size), views.split(config.batch_size), strict=True):
            loss = F.cross_entropy(head(pictures.features[rows, seen]), pictures.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        metrics = {"loss": loss.item()}
        found.kept = first + steps
        if held_out is not None:
            score = macro_accuracy(logits_of(head, held_out.features[:, 0]), held_out.labels)
            metrics["validation_accuracy"] = score
            if score > best_score:
                best_score, best_step = score, found.kept
                best = {name: value.clone() for name, value in head.state_dict().items()}
        found.history.append((first + steps, metrics))
        log(first + steps, metrics)
    if best:
        head.load_state_dict(best)
        found.kept = best_step
    return found


@torch.inference_mode()
def logits_of(head: nn.Linear, features: Tensor) -> Tensor:
    """(..., C) from features (..., D)."""
    return head(features)
