"""Full fine-tuning of a few-shot classifier: the backbone learns on, together with the linear head that was fitted on it.

The head comes first and the backbone follows at a lower rate, because a random head would distort good features before it
says anything (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution").
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from figment.datasets.labelled import LabelledImages
from figment.metrics.accuracy import macro_accuracy
from figment.training.augment import augment
from figment.training.backbone import Backbone
from figment.training.config import AugmentConfig, FinetuneConfig
from figment.training.head import TrainedHead


def finetune(
    backbone: Backbone,
    head: nn.Linear,
    pictures: LabelledImages,
    law: Tensor,
    augmentation: AugmentConfig | None,
    config: FinetuneConfig,
    seed: int,
    held_out: LabelledImages | None = None,
    log: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> TrainedHead:
    """Change ``backbone`` and ``head`` in place: cross-entropy over ``pictures`` drawn by ``law`` (N,), each changed at random
    anew, or as it is without ``augmentation``.

    The backbone stays in eval mode: batch norms keep the statistics that they came with (a handful of photos and what was
    made of them would give worse ones) and learn their scale and shift alone. With ``held_out`` pictures the weights of the
    step with the best macro accuracy on them are kept, which may be step 0, the linear head; otherwise the last.
    """
    generator = torch.Generator().manual_seed(seed)
    device = backbone.device
    model = nn.ModuleDict({"backbone": backbone, "head": head.to(device)}).requires_grad_(True)
    rates = [
        {"params": list(backbone.parameters()), "lr": config.learning_rate},
        {"params": list(head.parameters()), "lr": config.head_learning_rate},
    ]
    optimizer = torch.optim.Adam(rates, weight_decay=config.weight_decay)
    found, best, best_score = TrainedHead(head), {}, -1.0

    def validate(step: int, metrics: dict[str, float]) -> None:
        nonlocal best, best_score
        found.kept = step if held_out is None else found.kept
        if held_out is not None:
            logits = classify(backbone, head, held_out.pixels, config.batch_size)
            metrics["validation_accuracy"] = score = macro_accuracy(logits, held_out.labels)
            if score > best_score:
                best_score, found.kept = score, step
                best = {name: value.clone() for name, value in model.state_dict().items()}
        found.history.append((step, metrics))
        log(step, metrics)

    if held_out is not None:
        validate(0, {})
    for first in range(0, config.steps, config.validate_every):
        steps = min(config.validate_every, config.steps - first)
        items = torch.multinomial(law, steps * config.batch_size, replacement=True, generator=generator)
        for rows in items.split(config.batch_size):
            pixels = pictures.pixels[rows]
            shown = augment(pixels, augmentation, generator) if augmentation else pixels
            loss = F.cross_entropy(head(backbone(shown.to(device))), pictures.labels[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        validate(first + steps, {"loss": loss.item()})
    if best:
        model.load_state_dict(best)
    model.requires_grad_(False)
    head.cpu()
    return found


@torch.inference_mode()
def classify(backbone: Backbone, head: nn.Linear, pixels: Tensor, batch_size: int) -> Tensor:
    """(N, C) logits on the CPU of pictures (N, 3, S, S) uint8."""
    head = head.to(backbone.device)
    return torch.cat([head(backbone(part.to(backbone.device))).cpu() for part in pixels.split(batch_size)])
