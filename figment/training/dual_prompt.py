"""Train dual prompts and feature fusion on real images of seen classes and generated ones of unseen classes (Zhang et al.
2024, sec. 6 of its method; DualCoOp, Sun et al. 2022).

Images come as uint8 tensors, targets as tables of 1, 0 and -1 over one label space; a target of -1 is unknown and left out
of the loss. So the real images teach the seen classes and the generated ones the unseen, as in the paper.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipConfig, load_clip
from figment.datasets.tagged import TaggedImages
from figment.devices import choose_device, cores
from figment.errors import InputError
from figment.labels import LabelSpace
from figment.loop import Log, Part, Row, Stateful, Trainer, fit
from figment.model_folders import check_texts
from figment.model_loaders.clip import open_clip_tokenizer
from figment.text import reason_of
from figment.training.config import DualPromptConfig, DualPromptTraining
from figment.training.randaugment import augment_image
from models.dual_prompt import DualPromptClassifier, OpenClip, aggregate_regions, presence
from models.losses import AsymmetricLoss

CHECKPOINT_VERSION = 2  # raise it where old checkpoints must not be resumed (figment.keys)
BATCH = 256  # images, where nothing is learned
FEW = 2048  # images an epoch that are augmented before workers have started


@dataclass(frozen=True)
class TrainedPrompts:
    """``model`` in eval mode as it was after ``best_epoch``; ``history`` has a row an epoch: rates, loss, measures."""

    model: DualPromptClassifier
    best_epoch: int
    history: list[dict[str, float]]
    others: Mapping[str, Any] = field(default_factory=dict)  # of ``config.also_best`` (figment.checkpoint.State)


Batch = list[tuple[TaggedImages, Tensor]]  # rows of one part or of several
Evaluate = Callable[["Scorer"], Mapping[str, float]]


def learning_rate(full: float, warmup: float, epoch: int, epochs: int) -> float:
    """The rate of ``epoch``, from 1: ``warmup`` in the first, then half a cosine down to nothing after the last.

    One step an epoch. The published code steps twice, once for each kind of image, and is back at the full rate at the end.
    """
    return warmup if epoch == 1 else full * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def build_dual_prompts(config: DualPromptConfig, clip: ClipConfig, space: LabelSpace) -> DualPromptClassifier:
    """A classifier for the classes of ``space`` on any open_clip model with regions, weights drawn from torch's global
    generator.

    Raises InputError if CLIP's text encoder has no room for the context, or its tower no place for the branches.
    """
    if not isinstance(model := load_clip(clip), open_clip.CLIP | open_clip.CustomTextCLIP):
        raise InputError(
            f"clip.model: {clip.model!r} is no model of open_clip, whose towers dual prompts go into; give one"
        )
    model = model.to(choose_device(config.device)).float()
    names = [label.clip_name for label in space.labels]
    try:
        tokenizer = open_clip_tokenizer(clip.model)
        check_texts(tokenizer, names, f"training.backbone.model: {clip.model!r}")
        return DualPromptClassifier(
            model,
            tokenizer,
            names,
            config.context,
            config.fusion_scale,
            class_specific=config.class_specific,
            init_words=config.init_words,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"training: {reason_of(error)}") from error


def learned_weights(model: DualPromptClassifier) -> dict[str, Tensor]:
    """Copies of all that learns, on the CPU; the CLIP is not among it."""
    learns = {id(value) for part in (model.prompts, *model.fusion) for value in part.parameters()}
    return {name: value.detach().cpu().clone() for name, value in model.named_parameters() if id(value) in learns}


def draw_batches(
    parts: Sequence[TaggedImages], how: Literal["alternating", "mixed"], size: int, generator: torch.Generator
) -> list[Batch]:
    """Every row of every part once, in batches of ``size`` (the last of a kind may be smaller). Alternating: those of the
    first part, then of the second. Mixed: of all parts together."""
    if how == "alternating":
        return [[(part, rows)] for part in parts for rows in torch.randperm(len(part), generator=generator).split(size)]
    owner = torch.cat([torch.full((len(part),), i) for i, part in enumerate(parts)])
    row = torch.cat([torch.arange(len(part)) for part in parts])
    order = torch.randperm(len(owner), generator=generator)
    mixed = [[(part, row[some[owner[some] == i]]) for i, part in enumerate(parts)] for some in order.split(size)]
    return [[(part, rows) for part, rows in batch if len(rows)] for batch in mixed]


class _Views(Dataset):
    """The augmented images of an epoch's batches, (B, 3, S, S) uint8 for each part in a batch."""

    def __init__(self, batches: Sequence[Batch], config: DualPromptConfig, epoch: int):
        self.batches, self.config, self.epoch = batches, config, epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> list[Tensor]:
        return [torch.stack([self._view(part, row) for row in rows.tolist()]) for part, rows in self.batches[number]]

    def _view(self, part: TaggedImages, row: int) -> Tensor:
        c = self.config
        return augment_image(part.pixels[row], c.cutout, c.randaugment, (c.seed, self.epoch, row))


def augmented(
    batches: Sequence[Batch], config: DualPromptConfig, epoch: int, pinned: bool = False
) -> Iterator[list[Tensor]]:
    """The views of each batch in turn, made ahead on worker processes, one a core, where an epoch has more than ``FEW``
    images to change. A view depends on the seed, the epoch and its row alone, wherever it is made."""
    changed = sum(len(rows) for batch in batches for _, rows in batch) if config.cutout or config.randaugment else 0
    loader = DataLoader(
        _Views(batches, config, epoch),
        batch_size=None,
        num_workers=min(cores(), len(batches)) if changed > FEW else 0,
        pin_memory=pinned,
        generator=torch.Generator(),  # or it would draw its seed from the global one
    )
    return iter(loader)


def known_classes(targets: Tensor, most: int | None, generator: torch.Generator) -> list[int]:
    """Ids of the classes of which these targets (B, C) say anything, or ``most`` of them drawn at random."""
    known = (targets >= 0).any(0).nonzero().flatten()
    if most and len(known) > most:
        known = known[torch.randperm(len(known), generator=generator)[:most]].sort().values
    return known.tolist()


class Scorer:
    """A classifier that measures: probabilities of all its classes, its prompts read once."""

    def __init__(self, model: DualPromptClassifier):
        self.model = model.eval()
        self.prepare = Prepare(model.clip).to(model.prompts.positive.device)
        with torch.inference_mode():
            self.texts = model.texts()

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, C) probabilities, on the CPU, of images (N, 3, S, S) uint8."""
        return torch.cat(
            [
                presence(aggregate_regions(self.model.regions(self.prepare(part)), self.texts)).cpu()
                for part in pixels.split(BATCH)
            ]
        )


class Prepare(nn.Module):
    """Images (B, 3, S, S), uint8 or float in [0, 1], as a CLIP expects them: resized with antialiasing, normalised."""

    mean: Tensor
    std: Tensor

    def __init__(self, clip: OpenClip):
        super().__init__()
        size = clip.visual.image_size
        self.size: int = size if isinstance(size, int) else size[0]
        settings = open_clip.get_model_preprocess_cfg(clip)
        self.register_buffer("mean", torch.tensor(settings["mean"])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(settings["std"])[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.mean.device)
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if pixels.shape[-1] != self.size:
            pixels = F.interpolate(pixels, size=(self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return (pixels - self.mean) / self.std


class _Trainer(Trainer):
    """All that changes while training. What is drawn in an epoch depends on the seed and its number alone."""

    rate, chosen_by = "training.learning_rate", "validation/mAP"
    model: DualPromptClassifier

    def __init__(
        self, config: DualPromptTraining, space: LabelSpace, images: Sequence[TaggedImages], evaluate: Evaluate
    ):
        self.config, self.images, self.evaluate = config, images, evaluate
        self.count, self.also_best = config.epochs, config.also_best
        batches = draw_batches(images, config.batches, config.batch_size, torch.Generator())
        self.steps = config.epochs * len(batches)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.model = build_dual_prompts(config, config.backbone, space)
        self.device = next(self.model.parameters()).device
        self.prepare = Prepare(self.model.clip).to(self.device)
        self.loss = AsymmetricLoss(config.gamma_neg, config.gamma_pos, eps=1e-6, eps_of_logits=config.eps)
        self.optimizer = torch.optim.SGD(
            [
                {"params": list(self.model.prompts.parameters()), "full_rate": config.learning_rate},
                *(
                    {"params": list(branch.parameters()), "full_rate": config.fusion_learning_rate}
                    for branch in self.model.fusion
                ),
            ],
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self._regions: dict[int, Tensor] = {}

    @property
    def sees_always_the_same(self) -> bool:
        """Whether an image has the same regions in every epoch, so that they need be computed only once."""
        return not (self.model.fusion or self.config.cutout or self.config.randaugment)

    def set_rates(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(group["full_rate"], self.config.warmup_rate, epoch, self.config.epochs)

    def parts(self) -> dict[str, Stateful]:
        return {"model": Part(self.weights, self.load), "optimizer": self.optimizer}

    def weights(self) -> dict[str, Tensor]:
        return learned_weights(self.model)

    def load(self, weights: dict[str, Tensor]) -> None:
        self.model.load_state_dict(weights, strict=False)

    def regions(self, batches: Sequence[Batch], epoch: int) -> Iterator[Tensor]:
        """(B, R, D) of each batch's views in this epoch."""
        if self.sees_always_the_same:
            for batch in batches:
                yield torch.cat([self._always_the_same(part)[rows] for part, rows in batch])
        else:
            for views in augmented(batches, self.config, epoch, pinned=self.device.type == "cuda"):
                yield torch.cat([self.model.regions(self.prepare(pixels)) for pixels in views])

    def _always_the_same(self, part: TaggedImages) -> Tensor:
        """(N, R, D) of all its images."""
        if id(part) not in self._regions:
            with torch.inference_mode():
                found = [self.model.regions(self.prepare(pixels)) for pixels in part.pixels.split(BATCH)]
            self._regions[id(part)] = torch.cat(found).clone()
        return self._regions[id(part)]

    def round(self, first: int, last: int) -> Iterator[Row | None]:
        """One pass over all images; the mean loss of an image, and the measures."""
        self.set_rates(last)
        generator = torch.Generator().manual_seed((self.config.seed << 16) + last)
        total, count = torch.zeros((), device=self.device), 0
        drawn = draw_batches(self.images, self.config.batches, self.config.batch_size, generator)
        for chosen, regions in zip(drawn, self.regions(drawn, last), strict=True):
            targets = torch.cat([part.targets[rows] for part, rows in chosen])
            classes = known_classes(targets, self.config.classes_per_batch, generator)
            logits = aggregate_regions(regions, self.model.texts(classes))
            loss = self.config.loss_scale * self.loss(logits, targets[:, classes].to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
            count += len(targets)
            yield None
        row = {"loss": total.item() / max(1, count), "rate": self.optimizer.param_groups[0]["lr"]}
        if math.isfinite(row["loss"]):
            row |= self.evaluate(Scorer(self.model))
        yield last, row


def train_dual_prompts(
    parts: Sequence[TaggedImages],
    space: LabelSpace,
    config: DualPromptTraining,
    evaluate: Evaluate,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda epoch, row: None,
) -> TrainedPrompts:
    """Train on ``parts`` (real images; generated ones), targets (N, C) of 1, 0 and -1 over ``space``.

    After every epoch ``evaluate`` gives measures; the epoch with the highest "validation/mAP" is kept. With a ``checkpoint``
    a training that was stopped goes on and ends with the same weights.
    """
    parts = [part for part in parts if len(part)]
    if not any(bool((part.targets > 0).any()) for part in parts):
        raise InputError("training: no image has any of the classes; there is nothing to learn")
    if config.unknown == "negative":
        parts = [TaggedImages(part.pixels, part.targets.clamp(min=0)) for part in parts]
    trainer = _Trainer(config, space, parts, evaluate)
    state = fit(trainer, checkpoint, log)
    history = [{"epoch": epoch, **row} for epoch, row in state.history]
    return TrainedPrompts(trainer.model.eval(), state.kept, history, state.others)
