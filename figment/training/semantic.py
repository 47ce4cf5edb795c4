"""Train a semantic matrix: "Semantic Diversity Learning for Zero-Shot Multi-label Classification" (Ben-Cohen et al. 2021).

Pictures come as uint8 tensors and targets as a table of 1, 0 and -1, from any reader; the labels are what their vectors
say, so pictures made for unseen labels join by adding columns to both.
"""

import contextlib
import math
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from figment.clip.label_vectors import LabelVectors
from figment.devices import choose_device
from figment.errors import InputError
from figment.files import atomic
from figment.model_folders import check_module, one_sentence
from figment.text import reason_of
from figment.training.classifier import build_classifier
from figment.training.config import SemanticConfig, TrainingConfig
from figment.training.randaugment import augment_picture
from figment.training.start import start_from
from models.losses import SemanticDiversityLoss
from models.semantic_matrix import LabelScores, Pooling, SemanticMatrix, label_scores

CHECKPOINT_VERSION = 1  # raise it where old checkpoints must not be resumed (figment.keys)
UNREADABLE = (
    OSError, RuntimeError, ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError, struct.error
)  # fmt: skip


@dataclass(frozen=True)
class TrainedMatrix:
    """``model``, in eval mode, as it was after ``best_epoch``; ``history`` has a row an epoch: loss, pictures without a
    label, every measure."""

    model: SemanticMatrix
    best_epoch: int
    history: list[dict[str, float]]


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
    """Scores (N, C) and winning rows (N, C), on the CPU, of labels (C, D) for pictures (N, 3, S, S) uint8."""
    parts = list(_predictions(model, pixels, vectors, pooling, batch_size))
    return LabelScores(torch.cat([part.scores for part in parts]).cpu(), torch.cat([part.rows for part in parts]).cpu())


@torch.inference_mode()
def score_pictures(
    model: SemanticMatrix, pixels: Tensor, vectors: Tensor, pooling: Pooling = "max", batch_size: int = 256
) -> Tensor:
    """The scores of ``predict_scores`` alone: of many pictures and labels the rows take twice their room."""
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
    """One epoch's view of every picture, and its targets."""

    def __init__(self, pixels: Tensor, targets: Tensor, config: SemanticConfig, epoch: int):
        self.pixels, self.targets, self.config, self.epoch = pixels, targets, config, epoch

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        seed = (self.config.seed, self.epoch, row)
        view = augment_picture(self.pixels[row], self.config.cutout, self.config.randaugment, seed)
        return view, self.targets[row]


class _Trainer:
    """All that changes while training, and how it is kept. Randomness is drawn anew for each epoch from the seed and the
    epoch's number, and for each view from those and the picture's row: an epoch is the same whether or not the process
    was stopped before it."""

    def __init__(self, config: SemanticConfig, dim: int, count: int):
        self.config, self.device = config, choose_device(config.device)
        self.steps = max(1, count // config.batch_size)
        with self.randomness(0):
            self.model = build_semantic_matrix(config, dim)
            if config.weights:
                start_from(self.model.backbone, config.weights)
            self.model.to(self.device)
        groups = param_groups_weight_decay(self.model, config.weight_decay)
        self.optimizer = torch.optim.Adam(groups, config.learning_rate)
        self.schedule = one_cycle(self.optimizer, config.learning_rate, config.epochs * self.steps, config.warmup)
        self.mixed = config.mixed_precision and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.average = ModelEmaV3(self.model, config.ema_decay, use_warmup=True) if config.ema_decay else None
        self.loss = SemanticDiversityLoss(
            config.regularisation, config.diversity_weight, config.pooling, config.unknown
        )
        self.history: list[dict[str, float]] = []
        self.best_score, self.best_epoch, self.best_weights = float("-inf"), 0, self.kept_weights()

    @contextlib.contextmanager
    def randomness(self, epoch: int) -> Iterator[None]:
        """torch's global generators, which dropout and initialisation use, seeded here and put back after."""
        devices = [torch.cuda.current_device()] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed((self.config.seed << 16) + epoch)
            yield

    def measured(self) -> SemanticMatrix:
        """The model that is measured and kept: the moving average if there is one."""
        return self.average.module if self.average else self.model

    def kept_weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.measured().state_dict().items()}

    def train_epoch(self, pixels: Tensor, targets: Tensor, vectors: Tensor, epoch: int) -> dict[str, float]:
        """One pass; the mean loss and the number of pictures that had no label to learn from."""
        self.model.train()
        order = torch.randperm(len(pixels))
        loader = DataLoader(
            _Views(pixels, targets, self.config, epoch),
            self.config.batch_size,
            sampler=order.tolist(),
            num_workers=self.config.workers,
            drop_last=len(pixels) >= self.config.batch_size,  # every batch is a whole one: batch norm needs it
            pin_memory=self.device.type == "cuda",
        )
        total, skipped = torch.zeros((), device=self.device), 0
        for views, chosen in tqdm(loader, desc=f"epoch {epoch}/{self.config.epochs}", unit="batch", leave=False):
            views = views.to(self.device, non_blocking=True).float() / 255
            with torch.autocast(self.device.type, torch.float16, enabled=self.mixed):
                matrix = self.model(views)
            loss = self.loss(matrix, chosen.to(self.device), vectors)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.schedule.step()
            if self.average:
                self.average.update(self.model, self.schedule.last_epoch)
            total += loss.detach()
            skipped += self.loss.skipped
        return {"loss": total.item() / self.steps, "without_label": skipped}

    def keep_if_best(self, epoch: int, score: float) -> None:
        if score > self.best_score:
            self.best_score, self.best_epoch, self.best_weights = score, epoch, self.kept_weights()

    def save(self, path: Path, key: str) -> None:
        state = {
            "key": key,
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "history": self.history,
            "best": [self.best_score, self.best_epoch, self.best_weights],
        }
        with atomic(path) as partial:
            torch.save(state, partial)

    def resume(self, path: Path, key: str) -> None:
        """Go on from ``path`` if it is there and was written under the same key."""
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            written_under = state["key"]
        except UNREADABLE as error:
            raise InputError(
                f"{path}: not a readable training state ({reason_of(error)}); move it away to start anew"
            ) from error
        if written_under != key:
            return
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.history = state["history"]
        self.best_score, self.best_epoch, self.best_weights = state["best"]


def train_semantic_matrix(
    pixels: Tensor,
    targets: Tensor,
    labels: LabelVectors,
    config: SemanticConfig,
    evaluate: Callable[[SemanticMatrix], Mapping[str, float]],
    state: Path | None = None,
    key: str = "",
    log: Callable[[int, dict[str, float]], None] = lambda epoch, row: None,
) -> TrainedMatrix:
    """Train on pictures (N, 3, S, S) uint8 with targets (N, C) of 1, 0 and -1 for ``labels`` (C).

    After every epoch ``evaluate`` gives measures of the model; the epoch with the highest ``config.select_by``, which should
    come from pictures held out of training and never from a test set, is kept. With a ``state`` file the training goes
    on where it was stopped, and ends with the very weights it would have had, if ``key`` (``figment.keys.checkpoint_key``)
    is the same. Raises InputError if the inputs do not fit each other or the loss leaves the finite.
    """
    _check(pixels, targets, labels, config)
    trainer = _Trainer(config, labels.dim, len(pixels))
    if state:
        trainer.resume(state, key)
    vectors = labels.vectors.to(trainer.device)
    for epoch in range(len(trainer.history) + 1, config.epochs + 1):
        with trainer.randomness(epoch):
            row: dict[str, float] = {"epoch": epoch} | trainer.train_epoch(pixels, targets, vectors, epoch)
            if not math.isfinite(row["loss"]):
                raise InputError(
                    f"training: the loss became {row['loss']} in epoch {epoch}; lower training.learning_rate"
                )
            row |= {"learning_rate": float(trainer.schedule.get_last_lr()[0])}
            row |= evaluate(trainer.measured().eval())
        trainer.keep_if_best(epoch, _selector(row, config.select_by))
        trainer.history.append(row)
        if state:
            trainer.save(state, key)
        log(epoch, row)
    model = trainer.measured()
    model.load_state_dict(trainer.best_weights)
    return TrainedMatrix(model.eval(), trainer.best_epoch, trainer.history)


def _selector(row: dict[str, float], name: str) -> float:
    if name not in row:
        raise InputError(f"training.select_by: {name!r} is not measured; there are {', '.join(row)}")
    if math.isnan(row[name]):
        raise InputError(f"training.select_by: {name!r} is not a number; does the validation split have any label?")
    return row[name]


def _check(pixels: Tensor, targets: Tensor, labels: LabelVectors, config: SemanticConfig) -> None:
    size = config.image_size
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, size, size) or len(pixels) < 2:
        raise InputError(
            f"training: pictures are {pixels.dtype} of shape {tuple(pixels.shape)}; expected uint8 (N, 3, {size}, {size}), N > 1"
        )
    if targets.shape != (len(pixels), len(labels)):
        raise InputError(
            f"training: targets have shape {tuple(targets.shape)}; expected {len(pixels)} pictures by {len(labels)} labels"
        )
    if not (targets > 0).any():
        raise InputError("training: no picture has any of the labels; there is nothing to learn")
