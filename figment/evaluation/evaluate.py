"""Any saved model on any labelled images: measures with intervals, a table of classes, and the confusion of classes."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from rich.table import Table
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from figment.datasets.labelled import LabelledImages, StreamedImages, open_labelled
from figment.datasets.tagged import NAMES, TaggedImages, read_tagged
from figment.devices import choose_device
from figment.errors import InputError
from figment.loop import seeded
from figment.metrics.accuracy import Score, calibration_error, check_finite, confusion, macro_score, map_score, top1
from figment.metrics.multilabel import average_precisions, precision_recall_f1_at_k
from figment.training.kinds.registry import open_model
from figment.training.kinds.timm_classifier import TIMM
from figment.training.saved import Measure, TrainedModel

BATCH = 256
PUBLISHED_BATCH = 128  # of the bag of tricks' code
K = 3  # best classes of an image, where it may have several


class ClassResult(BaseModel):
    """``value``: top-1 among the class's images, or its average precision; None without an image of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    unseen: bool
    images: int
    value: float | None


class Evaluation(BaseModel):
    """What a model does on one data set. ``confusion`` (row the true class) is empty where images have several classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    kind: str
    data: str
    images: int
    metrics: tuple[Measure, ...]
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...] = ()


def evaluate(model: Path, data: Sequence[Path], device: str = "auto", as_published: bool = False) -> list[Evaluation]:
    """One result a path of ``data``: a folder with pixels.npy and targets.npy, where images may have several classes, or
    whatever ``open_labelled`` reads, the test split where there is one. Raises InputError for a class that the model does not
    know, and for scores that are not finite. ``as_published`` adds what a timm classifier scores without eval()."""
    trained = open_model(model)
    if as_published and trained.kind is not TIMM:
        raise InputError(f"{model}: is a {trained.kind.name}; --as-published measures timm classifiers without eval()")
    return [_evaluate(trained, model, path, device, as_published) for path in data]


def _evaluate(
    trained: TrainedModel[Any], model: Path, path: Path, device: str, as_published: bool = False
) -> Evaluation:
    space = trained.saved.labels
    matrix: list[list[int]]
    if all((path / name).is_file() for name in NAMES):
        tagged = read_tagged(path)
        if tagged.targets.shape[1] != len(space):
            raise InputError(
                f"{path}: its targets have {tagged.targets.shape[1]} classes, the model {len(space)}; give data of its classes"
            )
        scores, targets = _scores(trained, tagged, device), (tagged.targets > 0).int()
        check_finite(str(model), scores)
        metrics, values = _ranked(scores, targets)
        counts, matrix = targets.sum(0), []
    else:
        size, how, native = trained.preparation
        images = open_labelled(path, "test", space, size, None, how, native)
        scores, truth = _scores(trained, images, device), images.labels
        check_finite(str(model), scores)
        logits = scores.clamp(min=1e-12).log() if trained.kind.probabilities else scores
        metrics, values = _classified(logits, truth, trained.kind.exclusive)
        if as_published:
            with seeded(0, choose_device(device)):  # its dropout is on
                without = _scores(trained, images.load(), device, PUBLISHED_BATCH)
            metrics.append(_measure("top-1 without eval(), as published", top1(without, truth), len(truth)))
        counts, matrix = torch.bincount(truth, minlength=len(space)), confusion(logits, truth).tolist()
    return Evaluation(
        model=str(model),
        kind=trained.kind.name,
        data=str(path),
        images=len(scores),
        metrics=tuple(metrics),
        classes=tuple(
            ClassResult(name=label.name, unseen=label.unseen, images=count, value=value if count else None)
            for label, count, value in zip(space.labels, counts.tolist(), values, strict=True)
        ),
        confusion=tuple(tuple(row) for row in matrix),
    )


@torch.inference_mode()
def _scores(
    trained: TrainedModel[Any], images: StreamedImages | TaggedImages | LabelledImages, device: str, training: int = 0
) -> Tensor:
    """(N, C) on the CPU, in the set's order; with ``training`` in batches of so many and as in training: by their statistics."""
    where, size = choose_device(device), trained.preparation[0]
    scorer, batch = trained.scorer().to(where), training or BATCH
    if training:
        scorer = copy.deepcopy(scorer).train()  # its statistics follow the images that it sees

    def score(pixels: Tensor) -> Tensor:
        if pixels.shape[-1] != size:
            pixels = resize(pixels, [size, size], antialias=True)
        return scorer(pixels.to(where).float() / 255).float().cpu()

    if isinstance(images, TaggedImages | LabelledImages):
        return torch.cat([score(part) for part in images.pixels.split(batch)])
    found = torch.empty(len(images), len(trained.labels))
    for rows, part in images.parts():
        for some, pixels in zip(rows.split(BATCH), part.pixels.split(BATCH), strict=True):
            found[some] = score(pixels)
    return found


def _classified(logits: Tensor, truth: Tensor, exclusive: bool) -> tuple[list[Measure], list[float]]:
    """Measures, and top-1 of each class."""
    metrics = [
        _measure("top-1", top1(logits, truth), len(truth)),
        _measure("macro accuracy", macro_score(logits, truth), len(truth)),
    ]
    if exclusive:
        metrics.append(Measure(name="calibration error", value=calibration_error(logits, truth), images=len(truth)))
    right = (logits.argmax(1) == truth).double()
    counts = torch.bincount(truth, minlength=logits.shape[1]).clamp(min=1)
    return metrics, (torch.bincount(truth, right, logits.shape[1]) / counts).tolist()


def _ranked(scores: Tensor, targets: Tensor) -> tuple[list[Measure], list[float]]:
    """Measures, and the average precision of each class."""
    if not targets.any():
        raise InputError("the data: no image has any of the model's classes; give images that have")
    metrics = [_measure("mAP", map_score(scores, targets), len(targets))]
    found = precision_recall_f1_at_k(scores, targets, K)._asdict()
    metrics += [Measure(name=f"{name}@{K}", value=value, images=len(targets)) for name, value in found.items()]
    return metrics, average_precisions(scores, targets).tolist()


def _measure(name: str, score: Score, images: int) -> Measure:
    return Measure(name=name, value=score.top1, low=score.low, high=score.high, images=images)


def table_of(found: Evaluation) -> Table:
    """For a terminal: the measures, then the classes."""
    table = Table(title=f"{found.model} ({found.kind}) on {found.images} images of {found.data}")
    for column in ("", "%", "95 % interval", "images"):
        table.add_column(column, justify="left" if not column else "right")
    for each in found.metrics:
        interval = (
            f"{100 * each.low:.1f} to {100 * each.high:.1f}" if each.low is not None and each.high is not None else ""
        )
        table.add_row(each.name, f"{100 * each.value:.1f}", interval, str(each.images or ""))
    table.add_section()
    for row in found.classes:
        value = "" if row.value is None else f"{100 * row.value:.1f}"
        table.add_row(f"{row.name} (unseen)" if row.unseen else row.name, value, "", str(row.images))
    return table
