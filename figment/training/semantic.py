"""Train a semantic matrix: "Semantic Diversity Learning for Zero-Shot Multi-label Classification" (Ben-Cohen et al. 2021).

Images come as uint8 tensors and targets as a table of 1, 0 and -1, from any reader; the labels are what their vectors
say, so images made for unseen labels join by adding columns to both.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset

from figment.checkpoint import Checkpoint
from figment.clip.label_vectors import LabelVectors
from figment.datasets.tagged import TaggedImages
from figment.devices import choose_device
from figment.errors import InputError
from figment.loop import Log, Row, Stateful, Trainer, fit, seeded
from figment.model_folders import check_module, one_sentence
from figment.training.classifier import build_classifier
from figment.training.config import SemanticConfig, TrainingConfig
from figment.training.randaugment import augment_image
from figment.training.start import start_from
from models.losses import SemanticDiversityLoss
from models.semantic_matrix import LabelScores, Pooling, SemanticMatrix, label_scores

CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)
Evaluate = Callable[[SemanticMatrix], Mapping[str, float]]


@dataclass(frozen=True)
class TrainedMatrix:
    """``model``, in eval mode, as it was after ``best_epoch``; ``history`` has a row an epoch: loss, images without a
    label, every measure."""

    model: SemanticMatrix
    best_epoch: int
    history: list[dict[str, float]]
    others: Mapping[str, Any] = field(default_factory=dict)  # of ``config.also_best`` (figment.checkpoint.State)


def build_semantic_matrix(config: SemanticConfig, dim: int) -> SemanticMatrix:
    """The backbone and a linear layer for vectors of ``dim`` dimensions, weights from the global generator of torch.

    Raises InputError if timm does not know the backbone.
    """
    name = config.model.split(".")[0]
    backbone = build_classifier(TrainingConfig(model=name, stem=config.stem, image_size=config.image_size), 0)
    if name != config.model:  # timm's NAME.TAG says whose weights, and with them what mean and deviation they expect
        try:
            backbone.pretrained_cfg = timm.get_pretrained_cfg(config.model).to_dict()
        except RuntimeError as error:
            known = ", ".join(timm.list_pretrained(f"{name}.*"))
            raise InputError(f"training.model: timm has no {config.model!r}; there are {known or name}") from error
    if config.pretrained:
        _load_pretrained(backbone, config)
    with torch.inference_mode():
        features = backbone.eval()(torch.zeros(1, 3, config.image_size, config.image_size)).shape[1]
    return SemanticMatrix(backbone.train(), features, config.rows, dim)


def _load_pretrained(backbone: nn.Module, config: SemanticConfig) -> None:
    what = f"no weights of {config.model!r} that fit stem {config.stem!r} and {config.image_size} px"
    advice = "connect to the hub once, choose another model, or train from random weights"
    with one_sentence(f"training.pretrained: {what}", advice):
        backbone.load_state_dict(timm.create_model(config.model, pretrained=True, num_classes=0).state_dict())
    check_module(backbone, f"training.pretrained: {config.model!r}")


def hold_out_rows(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows to choose the epoch by, disjoint, each sorted; ``share`` of ``count`` are the latter."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held = max(1, round(share * count))
    return order[held:].sort().values, order[:held].sort().values


@torch.inference_mode()
def predict_scores(
    model: SemanticMatrix,
    pixels: Tensor,
    vectors: Tensor,
    pooling: Pooling = "max",
    batch_size: int = 256,
) -> LabelScores:
    """Scores (N, C) and winning rows (N, C), on the CPU, of labels (C, D) for images (N, 3, S, S) uint8."""
    parts = list(_predictions(model, pixels, vectors, pooling, batch_size))
    return LabelScores(torch.cat([part.scores for part in parts]).cpu(), torch.cat([part.rows for part in parts]).cpu())


@torch.inference_mode()
def score_images(
    model: SemanticMatrix, pixels: Tensor, vectors: Tensor, pooling: Pooling = "max", batch_size: int = 256
) -> Tensor:
    """The scores of ``predict_scores`` alone: of many images and labels the rows take twice their room."""
    scores = vectors.new_empty(len(pixels), len(vectors), device="cpu")
    parts = _predictions(model, pixels, vectors, pooling, batch_size)
    for place, part in zip(scores.split(batch_size), parts, strict=True):
        place.copy_(part.scores)
    return scores


def _predictions(
    model: SemanticMatrix, pixels: Tensor, vectors: Tensor, pooling: Pooling, batch_size: int
) -> Iterator[LabelScores]:
    model.eval()
    device = model.embedding.weight.device
    vectors = vectors.to(device)
    for part in pixels.split(batch_size):
        yield label_scores(model(part.to(device).float() / 255), vectors, pooling)


def one_cycle(optimizer: torch.optim.Optimizer, highest: float, steps: int, warmup: float) -> OneCycleLR:
    """Up from a 25th of ``highest`` in a share ``warmup`` of the steps, down a cosine to next to nothing. At least two steps
    rise and one falls: with fewer torch divides by zero."""
    steps = max(3, steps)
    return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=max(warmup, 2 / steps))


class _Views(Dataset[tuple[Tensor, Tensor]]):
    """One epoch's view of every image, and its targets."""

    def __init__(self, images: TaggedImages, config: SemanticConfig, epoch: int):
        self.images, self.config, self.epoch = images, config, epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        seed = (self.config.seed, self.epoch, row)
        view = augment_image(self.images.pixels[row], self.config.cutout, self.config.randaugment, seed)
        return view, self.images.targets[row]


class _Trainer(Trainer):
    """All that changes while training. What is random is drawn for each epoch from the seed and the epoch's number, and for
    each view from those and the image's row: an epoch is the same whether or not the process was stopped before it."""

    rate = "training.learning_rate"
    model: SemanticMatrix

    def __init__(self, images: TaggedImages, labels: LabelVectors, config: SemanticConfig, evaluate: Evaluate):
        self.config, self.device, self.evaluate = config, choose_device(config.device), evaluate
        self.images, self.vectors = images, labels.vectors.to(self.device)
        self.batches = max(1, len(images) // config.batch_size)
        self.count, self.steps = config.epochs, config.epochs * self.batches
        self.chosen_by, self.also_best = config.select_by, config.also_best
        with self.randomness(0):
            self.model = build_semantic_matrix(config, labels.dim)
            if config.weights:
                start_from(self.model.backbone, config.weights)
            self.model.to(self.device)
        groups = param_groups_weight_decay(self.model, config.weight_decay)
        self.optimizer = torch.optim.Adam(groups, config.learning_rate)
        self.schedule = one_cycle(self.optimizer, config.learning_rate, self.steps, config.warmup)
        self.mixed = config.mixed_precision and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.ema = ModelEmaV3(self.model, config.ema_decay, use_warmup=True) if config.ema_decay else None
        self.loss = SemanticDiversityLoss(
            config.regularisation, config.diversity_weight, config.pooling, config.unknown
        )

    def randomness(self, epoch: int) -> AbstractContextManager[None]:
        return seeded((self.config.seed << 16) + epoch, self.device)

    def parts(self) -> dict[str, Stateful]:
        return super().parts() | {"schedule": self.schedule, "scaler": self.scaler}

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        """One pass; the mean loss, the number of images that had no label to train on, and the measures."""
        with self.randomness(last):
            self.model.train()
            order = torch.randperm(len(self.images))
            loader = DataLoader(
                _Views(self.images, self.config, last),
                self.config.batch_size,
                sampler=order.tolist(),
                num_workers=self.config.workers,
                drop_last=len(self.images) >= self.config.batch_size,  # every batch is a whole one: batch norm needs it
                pin_memory=self.device.type == "cuda",
            )
            total, skipped = torch.zeros((), device=self.device), 0
            for views, chosen in loader:
                loss = self.update(views, chosen)
                total += loss
                skipped += self.loss.skipped
                yield None
            row: dict[str, float] = {"epoch": last, "loss": total.item() / self.batches, "without_label": skipped}
            if math.isfinite(row["loss"]):
                row |= {"learning_rate": float(self.schedule.get_last_lr()[0])}
                row |= self.evaluate(self.measured.eval())
                _check_choice(row, self.config.select_by)
        yield last, row

    def update(self, views: Tensor, chosen: Tensor) -> Tensor:
        views = views.to(self.device, non_blocking=True).float() / 255
        with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
            matrix = self.model(views)
        loss = self.loss(matrix, chosen.to(self.device), self.vectors)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.ema:
            self.ema.update(self.model, self.schedule.last_epoch)
        return loss.detach()


def train_semantic_matrix(
    images: TaggedImages,
    labels: LabelVectors,
    config: SemanticConfig,
    evaluate: Evaluate,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda epoch, row: None,
) -> TrainedMatrix:
    """Train on ``images`` whose targets are of ``labels`` (C).

    After every epoch ``evaluate`` gives measures of the model; the epoch with the highest ``config.select_by``, which should
    come from images held out of training and never from a test set, is kept. An interrupted training resumes from
    ``checkpoint``. Raises InputError if the inputs do not fit each other or the loss leaves the finite.
    """
    _check(images, labels, config)
    trainer = _Trainer(images, labels, config, evaluate)
    state = fit(trainer, checkpoint, log)
    return TrainedMatrix(trainer.measured.eval(), state.kept, [row for _, row in state.history], state.others)


def _check_choice(row: dict[str, float], name: str) -> None:
    if name not in row:
        raise InputError(f"training.select_by: {name!r} is not measured; there are {', '.join(row)}")
    if math.isnan(row[name]):
        raise InputError(f"training.select_by: {name!r} is not a number; does the validation split have any label?")


def _check(images: TaggedImages, labels: LabelVectors, config: SemanticConfig) -> None:
    pixels, targets, size = images.pixels, images.targets, config.image_size
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, size, size) or len(pixels) < 2:
        raise InputError(
            f"training: images are {pixels.dtype} of shape {tuple(pixels.shape)}; expected uint8 (N, 3, {size}, {size}), N > 1"
        )
    if targets.shape != (len(pixels), len(labels)):
        raise InputError(
            f"training: targets have shape {tuple(targets.shape)}; expected {len(pixels)} images by {len(labels)} labels"
        )
    if not (targets > 0).any():
        raise InputError("training: no image has any of the labels; there is nothing to learn")
