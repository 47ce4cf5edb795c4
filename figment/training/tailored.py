"""Train dual prompts on the splits that ``figment.datasets.zero_shot`` wrote and on what was generated for unseen classes."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from figment.checkpoint import Checkpoint
from figment.clip.scorer import ClipConfig, ClipScorer
from figment.datasets.tagged import TaggedImages, read_tagged
from figment.labels import LabelSpace
from figment.loop import Log
from figment.metrics.multilabel import measures_under
from figment.synthesis.pool import Pool
from figment.training.config import DualPromptTraining
from figment.training.dual_prompt import Scorer, TrainedPrompts, train_dual_prompts
from figment.training.protocols import Score, both_scores
from figment.training.semantic import hold_out_rows
from figment.training.splits import made_images

Evaluator = Callable[[Score], dict[str, float]]


def train_tailored(
    splits: Path,
    made: TaggedImages,
    space: LabelSpace,
    config: DualPromptTraining,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda epoch, row: None,
) -> tuple[TrainedPrompts, dict[str, float]]:
    """Train on real images with seen classes and on ``made`` ones of unseen classes; the measures of the kept epoch on the
    test images, which are looked at once, at the end: the epoch is chosen by real and made images that were held out. With
    ``config.also_best`` they are measured on after every epoch, and choose the ``others``."""
    train, validation, zsl, gzsl = (read_tagged(splits / name) for name in ("train", "validation", "zsl", "gzsl"))
    learns, chooses = hold_out_rows(len(made), config.held_out, config.seed)
    validate = validation_evaluator(space, validation, _rows(made, chooses))
    test = test_evaluator(space, zsl, gzsl)
    measure = (lambda score: validate(score) | test(score)) if config.also_best else validate
    trained = train_dual_prompts([train, _rows(made, learns)], space, config, measure, checkpoint, log)
    return trained, test(Scorer(trained.model))


def test_evaluator(space: LabelSpace, zsl: TaggedImages, gzsl: TaggedImages) -> Evaluator:
    """Measures as ``PROTOCOL/MEASURE``: ``zsl`` ranks the unseen classes, ``gzsl`` all. Every image counts, as in the
    published evaluation."""
    seen, both = _seen(space), both_scores(zsl, gzsl)

    def evaluate(score: Score) -> dict[str, float]:
        of_zsl, of_gzsl = both(score)
        ranked = _measured("zsl", of_zsl, zsl.targets, ~seen)
        return ranked | _measured("gzsl", of_gzsl, gzsl.targets, torch.ones_like(seen))

    return evaluate


def validation_evaluator(space: LabelSpace, real: TaggedImages, made: TaggedImages) -> Evaluator:
    """``validation/mAP`` is the mean of that of ``real`` images over the seen classes and, if there are any, of ``made`` ones
    over the unseen: each class is validated by the only images of it that there are."""
    seen = _seen(space)

    def evaluate(score: Score) -> dict[str, float]:
        found = _measured("validation_seen", score(real.pixels), real.targets, seen)
        if len(made):
            found |= _measured("validation_made", score(made.pixels), made.targets, ~seen)
        kinds = [value for name, value in found.items() if name.endswith("/mAP")]
        return found | {"validation/mAP": sum(kinds) / len(kinds)}

    return evaluate


def _seen(space: LabelSpace) -> Tensor:
    """(C,) bool"""
    return torch.isin(torch.arange(len(space)), torch.tensor(space.seen_ids))


def _measured(protocol: str, scores: Tensor, targets: Tensor, columns: Tensor) -> dict[str, float]:
    return measures_under({protocol: columns}, scores, targets, drop_unlabelled=False)


def accepted_images(shown: Mapping[str, Collection[str]], pool: Pool, space: LabelSpace, size: int) -> TaggedImages:
    """As ``made_images``, but for the seen classes: they may well be there too, so nothing is known of them."""
    made = made_images(shown, pool, space, size)
    made.targets[:, list(space.seen_ids)] = -1
    return made


def clip_scorer(clip: ClipConfig, space: LabelSpace) -> Score:
    """CLIP as it is: images (N, 3, S, S) uint8 to logits (N, C)."""
    scorer = ClipScorer(clip)
    text = scorer.text_features(space)
    return lambda pixels: scorer.logits(pixels, text).cpu()


def _rows(images: TaggedImages, rows: Tensor) -> TaggedImages:
    return TaggedImages(images.pixels[rows], images.targets[rows])
