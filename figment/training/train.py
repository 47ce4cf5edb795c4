"""Train an ordinary classifier from random weights on labelled images (the paper's sec. 4.1)."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from figment.checkpoint import Checkpoint
from figment.datasets.labelled import Images, LabelledImages, StreamedImages
from figment.devices import choose_device, cores
from figment.errors import InputError
from figment.loop import Log, Row, Trainer, fit, seeded
from figment.training.augment import augment, normalise
from figment.training.classifier import build_classifier, predict_all, start_classifier
from figment.training.config import TrainingConfig
from figment.training.loader import batches_of
from figment.training.optimizers import make_optimizer, set_rate
from figment.training.processes import Share, run_together
from figment.training.schedule import learning_rate
from figment.training.split import hold_out
from figment.training.timm_recipes import cross_entropy, mix

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)


def train_classifier(
    images: Images,
    num_classes: int,
    config: TrainingConfig,
    log: Log = lambda step, metrics: None,
    name: str = "training",
    checkpoint: Checkpoint | None = None,
) -> nn.Module:
    """The trained model in eval mode on its device. The same images and config give the same model (on a CPU bit for
    bit), also if the training was interrupted and goes on from ``checkpoint``; ``log`` then sees the earlier steps again.
    With ``config.processes`` this is done by as many new processes together.

    Raises InputError if the loss stops being a number.
    """
    if config.processes == 1:
        trainer = _Training(images, num_classes, config, name)
        fit(trainer, checkpoint, log)
        return trainer.measured.eval()
    with TemporaryDirectory(prefix="figment-") as folder:
        given: Images | Path = images
        if isinstance(images, LabelledImages):  # a file that all map, not a copy in each
            given = Path(folder) / "set.pt"
            torch.save((images.pixels, images.labels), given)
        arguments = (given, num_classes, config, name, checkpoint)
        weights = run_together(config.processes, config.device, train_share, arguments, log)
    with torch.random.fork_rng(devices=[]):
        model = build_classifier(config, num_classes)
    model.load_state_dict(weights)
    return model.to(choose_device(config.device)).eval()


def train_share(
    accelerator: "Accelerator",
    log: Log,
    images: Images | Path,
    num_classes: int,
    config: TrainingConfig,
    name: str,
    checkpoint: Checkpoint | None,
) -> dict[str, Tensor]:
    """In one of several processes: its part of ``train_classifier``; the weights."""
    if isinstance(images, Path):
        images = LabelledImages(*torch.load(images, mmap=True, weights_only=True))
    elif isinstance(images, StreamedImages):
        images = replace(images, workers=max(1, cores() // config.processes))
    trainer = _Training(images, num_classes, config, name, accelerator)
    fit(trainer, checkpoint, log)
    return trainer.measured.state_dict()


class _Training(Trainer):
    rate = "training.learning_rate"

    def __init__(
        self,
        images: Images,
        num_classes: int,
        config: TrainingConfig,
        name: str,
        accelerator: "Accelerator | None" = None,
    ):
        self.config, self.accelerator = config, accelerator
        self.name = name if name == "training" else f"training {name}"
        self.unit = "step"
        self.share = Share(accelerator.process_index, accelerator.num_processes) if accelerator else Share()
        self.leads = self.share.index == 0
        if self.share.count != config.processes:
            raise InputError(
                f"training.processes: {config.processes} are to train together and {self.share.count} met; "
                "look for launch settings in the environment (WORLD_SIZE, ACCELERATE_*)"
            )
        self.device = accelerator.device if accelerator else choose_device(config.device)
        self.held_out: Images | None = None
        if config.holdout:
            rows, held_rows = hold_out(images.labels, config.holdout, config.seed)
            images, self.held_out = images.subset(rows), images.subset(held_rows[self.share.index :: self.share.count])
        self.chosen_by = "validation_top1" if config.keep == "best" else None
        self.source = batches_of(images, self.device)
        self.steps_per_epoch = -(-len(images) // config.batch_size)
        self.steps = config.steps or config.epochs * self.steps_per_epoch
        self.count = -(-self.steps // self.steps_per_epoch)
        with seeded(config.seed, self.device):
            model = start_classifier(config, num_classes)
        self.classes = num_classes
        self.model = model.to(self.device)
        if accelerator and self.device.type == "cuda":  # on a CPU there is no such layer: statistics of a share
            self.model = convert_sync_batchnorm(self.model)
        decay = config.ema_decay
        self.ema = ModelEmaV3(self.model, decay, use_warmup=True) if decay else None
        self.optimizer = make_optimizer(self.model, config)
        self.network = accelerator.prepare_model(self.model) if accelerator else self.model  # the same weights
        bf16 = config.precision == "bf16" or (config.precision == "auto" and self.device.type == "cuda")
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)

    def round(self, epoch: int, _: int) -> Iterator[Row | None]:
        """One pass over the set. Order, augmentation and dropout are drawn from the seed and the epoch's number; of several
        processes, each has a dropout of its own."""
        first = epoch * self.steps_per_epoch
        last = min(first + self.steps_per_epoch, self.steps)
        seed = self.config.seed * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        self.network.train()
        with seeded(seed + (self.share.index << 40), self.device):
            batches = self.source.batches(self.config.batch_size, generator, self.share)
            for step, (pixels, labels) in zip(range(first, last), batches, strict=False):
                rate = learning_rate(self.config, step, self.steps_per_epoch, self.steps)
                pixels = augment(pixels, self.config, generator, self.share)
                pixels, targets = mix(pixels, labels, self.classes, self.config, seed * 1_000_003 + step)
                loss = self._update(pixels, targets, rate)
                if self.ema:
                    self.ema.update(self.model, step + 1)
                yield None
                done = step + 1
                validates = done == last and self._validates(epoch)
                if validates or done % max(1, self.steps // 50) == 0:
                    row = {"loss": self._mean(loss), "learning_rate": rate}
                    if validates and math.isfinite(row["loss"]):
                        row |= self._validate()
                    yield done, row

    def _update(self, pixels: Tensor, labels: Tensor, rate: float) -> Tensor:
        set_rate(self.optimizer, rate)
        with self.autocast:
            logits = self.network(normalise(pixels).contiguous(memory_format=torch.channels_last))
        loss = cross_entropy(logits.float(), labels, self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _mean(self, loss: Tensor) -> float:
        """Of all processes."""
        return (self.accelerator.reduce(loss, "mean") if self.accelerator else loss).item()

    def _validates(self, epoch: int) -> bool:
        """At most some fifty times, and after the last epoch."""
        return (epoch + 1) % max(1, self.count // 50) == 0 or epoch + 1 == self.count

    def _validate(self) -> dict[str, float]:
        """Top-1 and loss on the held-out images."""
        if self.held_out is None:
            return {}
        counted, labels = torch.zeros(3, dtype=torch.float64), self.held_out.labels  # right, loss, images
        if len(labels):  # of several processes, one may have none
            logits = predict_all(self.measured, self.held_out)
            loss = float(F.cross_entropy(logits, labels))
            counted += torch.tensor(
                [int((logits.argmax(1) == labels).sum()), loss * len(labels), len(labels)], dtype=counted.dtype
            )
        self.network.train()
        if self.accelerator:
            counted = self.accelerator.reduce(counted.to(self.device), "sum").cpu()
        return {"validation_top1": float(counted[0] / counted[2]), "validation_loss": float(counted[1] / counted[2])}
