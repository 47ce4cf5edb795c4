"""Full fine-tuning of a few-shot classifier: the backbone learns on, together with the linear head that was fitted on it.

The head comes first and the backbone follows at a lower rate, because a random head would distort good features before it
says anything (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution").
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import LabelledImages
from figment.loop import Log, Row, Stateful, Trainer, draws, fit
from figment.metrics.accuracy import macro_accuracy
from figment.training.augment import augment
from figment.training.backbone import Backbone
from figment.training.config import AugmentConfig, FinetuneConfig
from figment.training.head import TrainedHead
from figment.training.kinds.few_shot_head import FewShotClassifier
from figment.training.timm_recipes import cross_entropy, mix

CHECKPOINT_VERSION = 1  # raise it where old checkpoints must not be resumed (figment.keys)


@dataclass(frozen=True)
class Finetuning:
    """How a network learns on: images change at random in every step, or stay as they are without ``augmentation``. With
    ``held_out`` images the weights of the step with the best macro accuracy on them are kept, which may be step 0, the linear
    head; otherwise the last."""

    config: FinetuneConfig
    augmentation: AugmentConfig | None
    seed: int
    held_out: LabelledImages | None = None


def finetune(
    network: FewShotClassifier,
    images: LabelledImages,
    law: Tensor,
    training: Finetuning,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda step, metrics: None,
) -> TrainedHead:
    """Change ``network`` in place: cross-entropy over ``images`` drawn by ``law`` (N,). An interrupted call resumes from
    ``checkpoint``.

    The backbone stays in eval mode: batch norms keep the statistics that they came with (a handful of photos and what was
    made of them would give worse ones) and learn their scale and shift alone.
    """
    trainer = _Trainer(network, images, law, training)
    state = fit(trainer, checkpoint, log)
    trainer.model.requires_grad_(False)
    network.head.cpu()
    return TrainedHead(network.head, state.history, state.kept)


class _Trainer(Trainer):
    name, unit, rate = "fine-tuning", "step", "training.finetune.learning_rate"

    def __init__(self, network: FewShotClassifier, images: LabelledImages, law: Tensor, training: Finetuning):
        self.backbone, self.head, self.images, self.law = network.backbone, network.head, images, law
        self.augmentation, self.held_out, config = training.augmentation, training.held_out, training.config
        self.config = config
        self.count = self.steps = config.steps
        self.round_size = config.validate_every
        self.chosen_by = None if self.held_out is None else "validation_accuracy"
        self.generator = torch.Generator().manual_seed(training.seed)
        modules = {"backbone": self.backbone, "head": self.head.to(self.backbone.device)}
        self.model = nn.ModuleDict(modules).requires_grad_(True)
        rates = [
            {"params": list(self.backbone.parameters()), "lr": config.learning_rate},
            {"params": list(self.head.parameters()), "lr": config.head_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(rates, weight_decay=config.weight_decay)

    def parts(self) -> dict[str, Stateful]:
        return super().parts() | {"draws": draws(self.generator)}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        if first == 0 and self.held_out is not None:
            yield 0, self.validation()
        batch, device = self.config.batch_size, self.backbone.device
        items = torch.multinomial(self.law, (last - first) * batch, replacement=True, generator=self.generator)
        for rows in items.split(batch):
            pixels = self.images.pixels[rows]
            shown = augment(pixels, self.augmentation, self.generator) if self.augmentation else pixels.float() / 255
            shown, targets = self.mixed(shown, self.images.labels[rows])
            logits = self.head(self.backbone(shown.to(device)))
            loss = cross_entropy(logits, targets.to(device), self.config.label_smoothing)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            yield None
        yield last, {"loss": loss.item()} | self.validation()

    def mixed(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.config.mixup or self.config.cutmix):
            return pixels, labels
        seed = int(torch.randint(2**31, (), generator=self.generator))
        return mix(pixels, labels, self.head.out_features, self.config, seed)

    def validation(self) -> dict[str, float]:
        if self.held_out is None:
            return {}
        logits = classify(self.backbone, self.head, self.held_out.pixels, self.config.batch_size)
        return {"validation_accuracy": macro_accuracy(logits, self.held_out.labels)}


@torch.inference_mode()
def classify(backbone: Backbone, head: nn.Linear, pixels: Tensor, batch_size: int) -> Tensor:
    """(N, C) logits on the CPU of images (N, 3, S, S) uint8."""
    head = head.to(backbone.device)
    return torch.cat([head(backbone(part.to(backbone.device))).cpu() for part in pixels.split(batch_size)])
